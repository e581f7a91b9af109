package service

import (
	"cmp"
	"slices"
	"time"

	"github.com/agner-go/agner/internal/goroutine"
	"github.com/agner-go/agner/pkg/consume"
)

// InFlight is one handler that runs in this instance, of an event or of a call:
// a plain value.
type InFlight struct {
	Endpoint string            `json:"endpoint,omitempty"` // of a call
	Event    *consume.InFlight `json:"event,omitempty"`    // of an event
	// CausationID is the event whose handler made the call, where it said so.
	CausationID string        `json:"causation_id,omitempty"`
	Cast        bool          `json:"cast,omitempty"` // nobody waits for the result
	Age         time.Duration `json:"age_ns"`         // since its handler began; of a call since its receipt
	Timeout     time.Duration `json:"timeout_ns"`     // the age at which its context ends
	Hung        bool          `json:"hung,omitempty"` // it was given up and has not returned
	Goroutine   string        `json:"goroutine"`      // the runtime's id
	Stack       string        `json:"stack,omitempty"`
}

// InFlight lists the handlers that run, those that were given up and have not
// returned among them; the oldest first. Stacks are found in a dump of all
// goroutines, which stops the process for a moment.
func (s *Service) InFlight(stacks bool) []InFlight {
	var all []InFlight
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	if server != nil {
		for i := range server.pools {
			if p := server.pools[i].Load(); p != nil {
				all = append(all, p.inFlight()...)
			}
		}
	}
	if s.consumer != nil {
		for _, e := range s.consumer.InFlight() {
			all = append(all, InFlight{Event: &e, Age: e.Age, Timeout: e.Timeout, Hung: e.Hung, Goroutine: e.Goroutine})
		}
	}
	slices.SortStableFunc(all, func(a, b InFlight) int { return cmp.Compare(b.Age, a.Age) })
	if stacks && len(all) > 0 {
		ids := make([]string, 0, len(all))
		for _, f := range all {
			ids = append(ids, f.Goroutine)
		}
		found := goroutine.Stacks(ids)
		for i := range all {
			all[i].Stack = found[all[i].Goroutine]
		}
	}
	return all
}

func (p *pool) inFlight() (all []InFlight) {
	now := time.Since(p.srv.born)
	describe := func(x *inflight) InFlight {
		return InFlight{
			Endpoint: p.ep.name, CausationID: header(x.header, HeaderCausation), Cast: x.reply == "",
			Age: now - x.received, Timeout: x.deadline - x.received, Hung: x.hung, Goroutine: x.worker,
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.running {
		if x != nil {
			all = append(all, describe(x))
		}
	}
	for x := range p.hung {
		all = append(all, describe(x))
	}
	return all
}
