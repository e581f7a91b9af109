package service

import (
	"sync/atomic"
	"time"
)

// stats counts what an endpoint did since the service was made. Each field is
// exact; two of them read together may be one request apart.
type stats struct {
	requests atomic.Int64 // received
	errors   atomic.Int64 // of these, not answered with a result
	handled  atomic.Int64 // run by a handler
	nanos    atomic.Int64 // in handlers
	refused  atomic.Int64 // turned away: all places taken, or stopping
	expired  atomic.Int64 // dropped because their time was up
	canceled atomic.Int64 // given up by the caller, running or not
	panics   atomic.Int64
	hung     atomic.Int64           // ignored their deadline and were given up
	last     atomic.Pointer[string] // text of the last error
}

func (s *stats) fail(err error) {
	text := err.Error()
	s.errors.Add(1)
	s.last.Store(&text)
}

// EndpointStatus is what one endpoint of this instance did and does.
type EndpointStatus struct {
	Name        string        `json:"name"`
	Subject     string        `json:"subject"`
	Concurrency int           `json:"concurrency"`
	Queue       int           `json:"queue"`
	Running     int           `json:"running"`
	Waiting     int           `json:"waiting"`
	Requests    int64         `json:"requests"`           // received
	Errors      int64         `json:"errors"`             // not answered with a result
	Handled     int64         `json:"handled"`            // run by the handler
	Time        time.Duration `json:"processing_time_ns"` // spent in the handler
	Refused     int64         `json:"refused"`            // no place free, or stopping
	Expired     int64         `json:"expired"`            // dropped before they ran, their time was up
	Canceled    int64         `json:"canceled"`           // given up by the caller
	Panics      int64         `json:"panics"`
	Hung        int64         `json:"hung"`    // ignored their deadline; another worker took the place
	Dropped     int           `json:"dropped"` // by nats.go, as this process got no CPU; of this Run
	LastError   string        `json:"last_error,omitempty"`
}

func (s *stats) snapshot(into *EndpointStatus) {
	into.Requests = s.requests.Load()
	into.Errors = s.errors.Load()
	into.Handled = s.handled.Load()
	into.Time = time.Duration(s.nanos.Load())
	into.Refused = s.refused.Load()
	into.Expired = s.expired.Load()
	into.Canceled = s.canceled.Load()
	into.Panics = s.panics.Load()
	into.Hung = s.hung.Load()
	if t := s.last.Load(); t != nil {
		into.LastError = *t
	}
}
