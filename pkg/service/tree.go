package service

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/agner-go/agner/internal/connection"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/supervise"
)

// Names of the children that a service has beside those of Add.
const (
	childPresence = "presence"
	childEvents   = "events"
	childCalls    = "calls"
)

// newTree lays out the children. They start in this order and stop in reverse:
// what the user added is there before the first event or call and after the
// last.
func (s *Service) newTree(added []supervise.Child) (*supervise.Supervisor, error) {
	var children []supervise.Child
	if !s.cfg.Presence.Off {
		children = append(children, s.presenceChild())
	}
	children = append(children, added...)
	if s.consumer != nil {
		children = append(children, supervise.Child{
			Name:     childEvents,
			Runner:   events{s.untilStopping(s.consumer.RunReady), s.consumer},
			Shutdown: s.cfg.Consume.DrainTimeout + time.Second, // it ends by itself before
		})
	}
	if len(s.endpoints) > 0 {
		c, err := s.newCalls()
		if err != nil {
			return nil, err
		}
		children = append(children, supervise.Child{Name: childCalls, Runner: c})
	}
	root := s.cfg.Supervision
	root.Name, root.Logger, root.Template = s.id.Name, s.log, nil
	root.OnEvent = s.withTransitions(root.OnEvent)
	root.Gate = connection.NewGate(s.nc, nil)
	return supervise.New(root, children...)
}

// events is the child that handles events; its subscriptions are its children.
type events struct {
	supervise.ReadyFunc
	consumer *consume.Consumer
}

// Status implements supervise.Tree.
func (e events) Status() supervise.Status { return e.consumer.Tree() }

// Restart restarts a subscription, for the supervisor above.
func (e events) Restart(ctx context.Context, subscription string) error {
	return e.consumer.Restart(ctx, subscription)
}

// calls is the child that takes calls; each endpoint is a child of its. The
// supervisor is made once and runs again in each Run, since it remembers what
// an earlier one had to abandon, and starts nothing beside that.
type calls struct {
	*supervise.Supervisor
	service *Service
}

func (s *Service) newCalls() (*calls, error) {
	children := make([]supervise.Child, 0, len(s.endpoints))
	for i, ep := range s.endpoints {
		children = append(children, supervise.Child{
			Name:     ep.name,
			Shutdown: s.cfg.DrainTimeout,
			Runner: s.untilStopping(func(ctx context.Context, ready func()) error {
				s.mu.Lock()
				server := s.server
				s.mu.Unlock()
				return server.serveEndpoint(ctx, i, ep, ready)
			}),
		})
	}
	tree := s.cfg.Supervision
	tree.Name, tree.Logger, tree.Template = childCalls, s.log, nil
	sup, err := supervise.New(tree, children...)
	return &calls{Supervisor: sup, service: s}, err
}

// Run implements supervise.Runner.
func (c *calls) Run(ctx context.Context) error { return c.RunReady(ctx, func() {}) }

// RunReady implements supervise.ReadyRunner.
func (c *calls) RunReady(ctx context.Context, ready func()) error {
	s := c.service
	server := s.newServer(ctx)
	cancels, err := listen(s.nc, cancelInbox, server.onCancel, s.addr.cancel())
	if err != nil {
		return fmt.Errorf("service %s: %w", s.id.Name, err)
	}
	defer cancels.stop()
	s.mu.Lock()
	s.server, server.giveUp = server, s.giveUp
	s.mu.Unlock()
	return c.Supervisor.RunReady(ctx, ready)
}

func (s *Service) newServer(ctx context.Context) *server {
	srv := &server{
		nc: s.nc, addr: s.addr, id: s.id, guard: s.guard, log: s.log,
		born: time.Now(), drain: s.cfg.DrainTimeout, values: context.WithoutCancel(ctx), badReplies: &s.badReplies,
	}
	srv.pools = make([]atomic.Pointer[pool], len(s.endpoints))
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
		defer context.AfterFunc(stopping, cancel)() //nolint:contextcheck // ends by either
		err := run(ctx, ready)
		if stopping.Err() != nil {
			<-child.Done()
		}
		return err
	}
}
