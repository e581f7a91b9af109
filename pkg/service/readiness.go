package service

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/supervise"
)

// Readiness says whether an instance may be given work, and what is missing: a
// plain value, and the body of [Service.Readyz] and [Service.Healthz].
type Readiness struct {
	Service  string `json:"service"`
	Instance string `json:"instance"`
	State    State  `json:"state"`
	// Ready: durables are bound, endpoints are registered, what Add brought is
	// up, the connection is there, and the instance does not drain.
	Ready bool `json:"ready"`
	// Alive: it may become ready, or it drains. What is not alive stays so
	// until Run is called again, or for good if the connection was closed.
	Alive bool `json:"alive"`
	// Missing names what stands between the instance and being ready, as
	// "endpoint quote: backoff". Empty when ready.
	Missing []string `json:"missing,omitempty"`
}

// Readiness looks at the service now. It asks no server and never waits, so it
// can be called as often as a probe likes.
func (s *Service) Readiness() Readiness {
	s.mu.Lock()
	r := Readiness{Service: s.id.Name, Instance: s.id.Instance, State: s.state, Alive: !s.failed && !s.nc.IsClosed()}
	s.mu.Unlock()
	if r.State != StateReady {
		r.Missing = append(r.Missing, "state: "+string(r.State))
	}
	switch status := s.nc.Status(); {
	case status != nats.CONNECTED:
		r.Missing = append(r.Missing, "connection: "+word(status))
	case r.State == StateReady && s.heard.Load() != s.nc.Stats().Reconnects:
		r.Missing = append(r.Missing, "connection: subscribing again")
	}
	if r.State == StateStarting || r.State == StateReady {
		r.Missing = append(r.Missing, s.notUp()...)
	}
	r.Ready = len(r.Missing) == 0
	return r
}

// notUp names the children that do not run, and the subscriptions whose durable
// is not bound.
func (s *Service) notUp() (missing []string) {
	tree := s.tree.Status()
	for i := range tree.Children {
		child := &tree.Children[i]
		var below []string // says more than the child itself
		switch child.Name {
		case childCalls:
			below = down("endpoint", child.Children)
		case childEvents:
			below = down("subscription", child.Children)
		}
		if len(below) == 0 {
			below = down("child", tree.Children[i:i+1])
		}
		missing = append(missing, below...)
	}
	if s.consumer == nil {
		return missing
	}
	for _, sub := range s.consumer.Status().Subscriptions {
		if sub.State == consume.StateHealing {
			missing = append(missing, "subscription "+sub.Name+": "+string(sub.State))
		}
	}
	return missing
}

func down(what string, children []supervise.Status) (missing []string) {
	for _, c := range children {
		if c.State != supervise.StateRunning {
			missing = append(missing, what+" "+c.Name+": "+string(c.State))
		}
	}
	return missing
}

// word is the state of a connection in lower case.
func word(s nats.Status) string {
	switch s {
	case nats.CLOSED:
		return "closed for good"
	case nats.RECONNECTING, nats.CONNECTING, nats.DISCONNECTED:
		return "reconnecting"
	case nats.DRAINING_SUBS, nats.DRAINING_PUBS:
		return "draining"
	case nats.CONNECTED:
		return "connected"
	}
	return "unknown"
}

// Readyz answers probes of readiness, conventionally at /readyz: 200 while the
// instance is ready, else 503. The body is a [Readiness] in JSON, for both.
// Platforms send no work to an instance that is not ready, and leave it alone.
func (s *Service) Readyz() http.Handler {
	return s.probe(func(r Readiness) bool { return r.Ready })
}

// Healthz answers probes of liveness, conventionally at /healthz: 200 while the
// instance is alive, drains included, else 503. The body is that of
// [Service.Readyz]. Platforms restart what is not alive, so an outage of the
// broker does not count: a restart would not end it.
func (s *Service) Healthz() http.Handler {
	return s.probe(func(r Readiness) bool { return r.Alive })
}

func (s *Service) probe(good func(Readiness) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "a probe is a GET or a HEAD", http.StatusMethodNotAllowed)
			return
		}
		r := s.Readiness()
		body, err := json.Marshal(r)
		if err != nil {
			http.Error(w, "encode readiness", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !good(r) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if _, err := w.Write(append(body, '\n')); err != nil {
			s.log.DebugContext(req.Context(), "probe went away", "error", err)
		}
	})
}

// followReconnects finds out when the server has the subscriptions of a
// connection that is back: the client calls it connected when it has sent them.
func (s *Service) followReconnects(ctx context.Context) (stop func()) {
	back := s.nc.StatusChanged(nats.CONNECTED)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // a drain goes on answering
	var follower sync.WaitGroup
	follower.Go(func() {
		for {
			// Counted before the round trip: a reconnect meanwhile is another one.
			now := s.nc.Stats().Reconnects
			var again <-chan time.Time
			switch {
			case !s.nc.IsConnected():
			case flush(ctx, s.nc) == nil:
				s.heard.Store(now)
			default:
				again = time.After(time.Second)
			}
			select {
			case <-again:
			case _, ok := <-back:
				if !ok {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		s.nc.RemoveStatusListener(back)
		follower.Wait()
	}
}
