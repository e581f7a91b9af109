package service

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/supervise"
)

// Names of the children that a service has beside those of Add.
const (
	childEvents = "events"
	childCalls  = "calls"
)

// newTree lays out the children. They start in this order and stop in reverse:
// what the user added is there before the first event or call and after the
// last.
func (s *Service) newTree(added []supervise.Child) (*supervise.Supervisor, error) {
	children := added
	if s.consumer != nil {
		children = append(children, supervise.Child{
			Name:     childEvents,
			Runner:   s.untilStopping(s.consumer.RunReady),
			Shutdown: s.cfg.Consume.DrainTimeout + time.Second, // it ends by itself before
		})
	}
	if len(s.endpoints) > 0 {
		children = append(children, supervise.Child{
			Name:     childCalls,
			Runner:   supervise.ReadyFunc(s.runCalls),
			Shutdown: s.cfg.DrainTimeout,
		})
	}
	return supervise.New(supervise.Config{
		Name: s.id.Name, Logger: s.log, Gate: gate{s.nc},
	}, children...)
}

// runCalls serves the endpoints.
func (s *Service) runCalls(ctx context.Context, ready func()) error {
	s.mu.Lock()
	server := s.newServer(ctx)
	s.server = server
	s.mu.Unlock()
	return s.untilStopping(server.run)(ctx, ready)
}

func (s *Service) newServer(ctx context.Context) *server {
	srv := &server{
		nc: s.nc, addr: s.addr, id: s.id, guard: s.guard, log: s.log,
		born: time.Now(), drain: s.cfg.DrainTimeout, values: context.WithoutCancel(ctx), badReplies: &s.badReplies,
	}
	for _, ep := range s.endpoints {
		srv.pools = append(srv.pools, newPool(srv, ep))
	}
	return srv
}

// untilStopping ends the context of run together with that of the service's
// Run, not in the supervisor's order: events and calls stop coming at the same
// moment, and drain side by side. The child itself ends in its turn.
func (s *Service) untilStopping(run supervise.ReadyFunc) supervise.ReadyFunc {
	return func(child context.Context, ready func()) error {
		s.mu.Lock()
		stopping := s.stopping
		s.mu.Unlock()
		ctx, cancel := context.WithCancel(child)
		defer cancel()
		defer context.AfterFunc(stopping, cancel)()
		err := run(ctx, ready)
		if stopping.Err() != nil {
			<-child.Done()
		}
		return err
	}
}

// gate holds restarts back while nats.go reconnects. A connection that is
// closed for good does not: Run ends with it.
type gate struct{ nc *nats.Conn }

// Open tells whether work can be done, or has to fail.
func (g gate) Open() bool { return !g.nc.IsReconnecting() }

// Wait returns once Open holds.
func (g gate) Wait(ctx context.Context) error {
	status := g.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer g.nc.RemoveStatusListener(status)
	for !g.Open() {
		select {
		case <-status:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Blames tells which failures only a lost connection explains.
func (g gate) Blames(err error) bool {
	return errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrConnectionReconnecting)
}
