package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// flushTimeout bounds one round trip to the server.
	flushTimeout = 5 * time.Second
	// cancelInbox is how many cancels may wait for their goroutine.
	cancelInbox = 4096
)

// identity is how an instance is known.
type identity struct {
	Name, Instance, Version string
}

// server takes the calls of a service during one Run.
type server struct {
	nc     *nats.Conn
	addr   address
	id     identity
	guard  replyGuard
	log    *slog.Logger
	born   time.Time // origin of the clock of its requests
	drain  time.Duration
	values context.Context        //nolint:containedctx // parent of the handlers' contexts, never cancelled
	pools  []atomic.Pointer[pool] // by endpoint; nil until it has started
	giveUp func(error)            // ends the Run for what no restart can mend

	badReplies  *atomic.Int64
	badReplyLog everySecond
	castLog     everySecond
}

// everySecond lets one event of a second through.
type everySecond struct{ last atomic.Int64 }

func (e *everySecond) allow() bool {
	now, last := time.Now().UnixNano(), e.last.Load()
	return now-last >= int64(time.Second) && e.last.CompareAndSwap(last, now)
}

// serveEndpoint takes the calls of one endpoint until ctx ends, then drains: no
// new ones, those that came are finished within the drain timeout. It returns
// nil after a clean drain.
func (s *server) serveEndpoint(ctx context.Context, i int, ep *endpoint, ready func()) error {
	p := newPool(s, ep)
	s.pools[i].Store(p)
	if err := s.open(ctx, p); err != nil {
		if errors.Is(err, nats.ErrPermissionViolation) {
			s.giveUp(err)
		}
		return errors.Join(fmt.Errorf("service %s: endpoint %s: %w", s.id.Name, ep.name, err), s.stop(ctx, p))
	}
	ready()
	look := time.NewTicker(hangLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.stop(ctx, p)
		case <-p.feed.closed: // nobody but the connection ends it here
			err := fmt.Errorf("service %s: endpoint %s: %w", s.id.Name, ep.name, nats.ErrConnectionClosed)
			return errors.Join(err, s.stop(ctx, p))
		case <-look.C:
			if err := p.giveUpHung(); err != nil { //nolint:contextcheck // a request has a context of its own
				// Those that hang are not waited for: that is what they do.
				p.feed.seal()
				s.breakOff(p) //nolint:contextcheck // a request has a context of its own
				return fmt.Errorf("service %s: %w", s.id.Name, err)
			}
		}
	}
}

// open subscribes a pool to its endpoint's three subjects: any instance, this
// one, each. It returns when the server knows, so that a call made after it is
// answered.
func (s *server) open(ctx context.Context, p *pool) error {
	before := s.nc.LastError()
	p.start() //nolint:contextcheck // a request has a context of its own
	for _, sub := range []struct{ subject, queue string }{
		{s.addr.any(p.ep.name), queueGroup},
		{s.addr.instance(p.ep.name, s.id.Instance), ""},
		{s.addr.instance(p.ep.name, instanceAll), ""},
	} {
		if err := p.feed.add(sub.subject, sub.queue); err != nil {
			return err
		}
	}
	if err := flush(ctx, s.nc); err != nil && ctx.Err() == nil {
		return fmt.Errorf("flush subscriptions: %w", err)
	}
	// The server refuses a subscription with an error that belongs to none, and
	// may refuse something else at the same time.
	err := s.nc.LastError()
	if err != before && refusesSubscription(err, s.addr.any(p.ep.name)) { //nolint:errorlint // asks whether it is a new one
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

// refusesSubscription tells whether the server has refused a subscription to a
// subject, or to one that begins with it.
func refusesSubscription(err error, subject string) bool {
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `Subscription to "`+subject)
}

// stop ends the taking of calls and waits for those that came. Near the end of
// the drain timeout the handlers' contexts are cancelled; it does not return
// while one runs, so that a supervisor can name the handler that hangs.
func (s *server) stop(ctx context.Context, p *pool) error {
	ctx = context.WithoutCancel(ctx)
	soft, cancel := context.WithTimeout(ctx, s.drain-s.drain/10)
	defer cancel()
	p.feed.seal()
	p.feed.drain()
	if p.finish(soft) {
		return flushAtEnd(ctx, s.nc)
	}
	s.breakOff(p) //nolint:contextcheck // a request has a context of its own
	p.finish(ctx)
	return errors.Join(fmt.Errorf("service %s: endpoint %s: %w", s.id.Name, p.ep.name, ErrDrainTimeout), flushAtEnd(ctx, s.nc))
}

// breakOff cancels what runs and refuses what waits.
func (s *server) breakOff(p *pool) {
	p.feed.close()
	for _, x := range p.abort() {
		s.refuse(p.ep, x)
	}
}

// onCancel is told by a caller that it gave up: the body is its reply inbox.
func (s *server) onCancel(m *nats.Msg) {
	inbox := string(m.Data)
	if !s.guard.allows(inbox) {
		return
	}
	now := time.Now()
	for i := range s.pools {
		if p := s.pools[i].Load(); p != nil && p.cancel(inbox, now) {
			return
		}
	}
}

// flush waits until the server has seen what was sent so far.
func flush(ctx context.Context, nc *nats.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	return nc.FlushWithContext(ctx)
}

// flushAtEnd is for the end: without a server there is nothing to wait for.
func flushAtEnd(ctx context.Context, nc *nats.Conn) error {
	if !nc.IsConnected() {
		return nil
	}
	if err := flush(ctx, nc); err != nil && nc.IsConnected() {
		return fmt.Errorf("service: flush: %w", err)
	}
	return nil
}
