package demo

import (
	"context"
	"encoding/json"
	"io"
	"sync"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// What a record says of a run of a handler.
const (
	runBegan    = "began"
	runHandled  = "handled" // returned nil
	runFailed   = "failed"
	runPanicked = "panicked"
	// stateReady is no run: an instance tells that it takes events and calls.
	stateReady = "ready"
)

// record is one line of what a handler tells about a run, written before its
// event is acknowledged. Between processes it travels as JSON.
type record struct {
	What     string `json:"what"`
	Group    string `json:"group"`
	Instance string `json:"instance"`
	Source   string `json:"source,omitempty"`
	ID       string `json:"id,omitempty"`
	Key      string `json:"key,omitempty"`
	Attempt  int    `json:"attempt,omitempty"`
	Replays  int    `json:"replays,omitempty"`
}

func recordOf(what, instance string, e *envelope.Raw) record {
	return record{
		What: what, Group: e.Delivery.Group, Instance: instance,
		Source: e.Source, ID: e.ID, Key: e.Key, Attempt: e.Delivery.Attempt, Replays: e.Delivery.Replays,
	}
}

// recorder gives middleware that tells of every run. It sees what the handler
// returned before the event is acknowledged, so that a process killed in
// between has recorded more than it acknowledged, never less.
func recorder(instance string, tell func(record)) consume.Middleware {
	return func(next consume.HandlerFunc) consume.HandlerFunc {
		return func(ctx context.Context, e envelope.Raw) (err error) {
			tell(recordOf(runBegan, instance, &e))
			outcome := runPanicked
			defer func() { tell(recordOf(outcome, instance, &e)) }()
			if err = next(ctx, e); err != nil {
				outcome = runFailed
				return err
			}
			outcome = runHandled
			return nil
		}
	}
}

// lineWriter sends records as lines of JSON, whole ones from any goroutine. A
// reader that is gone leaves nobody to tell.
func lineWriter(w io.Writer) func(record) {
	var mu sync.Mutex
	enc := json.NewEncoder(w)
	return func(r record) {
		mu.Lock()
		defer mu.Unlock()
		_ = enc.Encode(r) //nolint:errchkjson // the process ends when its parent does
	}
}
