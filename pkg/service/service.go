package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/fleetlog"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/supervise"
)

// Service is one instance of a service: its identity, its handlers of events
// and calls, and its children. It is safe for concurrent use.
type Service struct {
	nc          *nats.Conn
	js          jetstream.JetStream
	cfg         Config // with defaults
	id          identity
	addr        address
	description string
	metadata    map[string]string
	guard       replyGuard
	log         *slog.Logger
	endpoints   []*endpoint
	consumer    *consume.Consumer // nil without subscriptions
	tree        *supervise.Supervisor
	declaration Declaration
	fleet       *fleetlog.Writer // nil with presence off
	changed     chan struct{}    // has the presence entry written at once
	heard       atomic.Uint64    // the reconnect after which the server is known to have the subscriptions
	badReplies  atomic.Int64
	badReplyLog everySecond

	mu        sync.Mutex
	state     State
	failed    bool // the last Run ended with an error
	started   time.Time
	stopping  context.Context //nolint:containedctx // of the Run that goes on: ends before those of its children
	giveUp    func(error)     // ends it for what no restart can mend
	drain     func()          // ends it as its context would
	server    *server         // of the last Run
	client    *Client
	publisher *publish.Publisher
}

// New checks the configuration and the parts, and starts nothing: no
// subscription, no stream, no goroutine. The connection stays the caller's; it
// must outlive Run and is best made by [Connect].
func New(nc *nats.Conn, cfg Config, all ...Part) (*Service, error) {
	s, err := newService(nc, cfg.withDefaults(), all)
	if err != nil {
		return nil, fmt.Errorf("service: new %.60q: %w", cfg.Name, err)
	}
	return s, nil
}

func newService(nc *nats.Conn, cfg Config, all []Part) (*Service, error) {
	if nc == nil {
		return nil, fmt.Errorf("connection is nil: %w", ErrConfig)
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	s := &Service{
		nc: nc, js: js, cfg: cfg, log: cfg.Logger,
		id:          identity{Name: cfg.Name, Instance: cfg.Instance, Version: cfg.Version},
		addr:        address{ns: subject.Namespace(cfg.Namespace), service: cfg.Name},
		description: cfg.Description, metadata: maps.Clone(cfg.Metadata),
		state: StateIdle, changed: make(chan struct{}, 1),
	}
	s.fleet = s.newFleetLog()
	if s.guard, err = newReplyGuard(cfg.ReplyPrefixes); err != nil {
		return nil, err
	}
	parts, err := collect(all)
	if err != nil {
		return nil, err
	}
	s.endpoints = parts.endpoints
	for _, ep := range s.endpoints {
		ep.intercept(s.id, cfg.Interceptors)
	}
	if len(parts.subscriptions) > 0 {
		cfg.Consume.OnNotice = s.withNotices(cfg.Consume.OnNotice)
		if s.consumer, err = consume.New(js, cfg.Consume, parts.subscriptions...); err != nil {
			return nil, err
		}
	}
	if err := s.renew(); err != nil {
		return nil, err
	}
	if err := s.declare(parts.children); err != nil {
		return nil, err
	}
	s.tree, err = s.newTree(parts.children)
	return s, err
}

// renew makes the publisher and the client for the next Run.
func (s *Service) renew() error {
	pub, err := publish.New(s.js, s.cfg.Publish)
	if err != nil {
		return err
	}
	cl, err := NewClient(s.nc, ClientConfig{
		Namespace: s.cfg.Namespace, Timeout: s.cfg.CallTimeout, Interceptors: s.cfg.ClientInterceptors,
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publisher, s.client = pub, cl
	return nil
}

// Instance is the id by which [ToInstance] reaches this process.
func (s *Service) Instance() string { return s.id.Instance }

// Client makes calls to other services. It is closed at the end of Run, after
// which this returns a new one.
func (s *Service) Client() *Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

// Publisher publishes events with the service's source. It is closed at the
// end of Run, when what is in flight is acknowledged; after that this returns
// a new one.
func (s *Service) Publisher() *publish.Publisher {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.publisher
}

// Run serves until ctx ends, then drains: it takes no more calls and events,
// finishes those that it has within DrainTimeout, stops the children of [Add]
// in reverse order, and waits for what was published. Discovery answers until
// then.
//
// Handlers and children run under a supervisor, which restarts what fails,
// waits without cost for the connection to come back, and gives up when the
// failures do not end.
//
// Run returns nil after a clean drain; an error that wraps [ErrDrainTimeout]
// if handlers outlasted it; a [supervise.ShutdownError] that names what did
// not stop; a [supervise.IntensityError] if the supervisor gave up; an error
// that wraps nats.ErrConnectionClosed once the connection is closed for good, or
// nats.ErrPermissionViolation if an endpoint may not be subscribed to; and
// [ErrRunning] while another Run goes on. It may be called again once it
// has returned.
func (s *Service) Run(ctx context.Context) error { return s.RunReady(ctx, func() {}) }

// RunReady is Run, and calls ready once when all children are started, the
// durables bound and the endpoints known to the server. It makes a Service a
// [supervise.ReadyRunner].
func (s *Service) RunReady(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	giveUp := func(err error) { cancel(&fatalError{err}) }
	if err := s.begin(ctx, giveUp, func() { cancel(nil) }); err != nil {
		return err
	}
	closed := s.nc.StatusChanged(nats.CLOSED)
	defer s.nc.RemoveStatusListener(closed)
	if s.nc.IsClosed() {
		giveUp(nats.ErrConnectionClosed)
	}
	stopped := make(chan time.Time, 1)
	go func() {
		select {
		case <-closed:
			giveUp(nats.ErrConnectionClosed)
		case <-ctx.Done():
		}
		s.setState(StateDraining)
		s.presenceChanged()
		s.fleet.Write(fleetlog.Record{Kind: fleetlog.KindDraining})
		stopped <- time.Now()
	}()
	err := s.supervised(ctx, ready)
	cancel(nil)
	left := s.cfg.DrainTimeout - time.Since(<-stopped)
	var fatal *fatalError
	if errors.As(context.Cause(ctx), &fatal) {
		err = errors.Join(fmt.Errorf("service %s: %w", s.id.Name, fatal.err), err)
	}
	return s.note(errors.Join(err, s.end(context.WithoutCancel(ctx), max(left, time.Second))))
}

// note keeps for probes whether a Run failed.
func (s *Service) note(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err != nil
	return err
}

// fatalError ends a Run that no restart of a child can mend.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }

func (s *Service) begin(ctx context.Context, giveUp func(error), drain func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != StateIdle {
		return fmt.Errorf("service %s: %w", s.id.Name, ErrRunning)
	}
	s.state, s.failed, s.started = StateStarting, false, time.Now().UTC()
	s.stopping, s.giveUp, s.drain = ctx, giveUp, drain
	return nil
}

func (s *Service) setState(state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

// supervised runs the tree between the first and the last answer of
// discovery.
func (s *Service) supervised(ctx context.Context, ready func()) error {
	if ctx.Err() != nil {
		return nil
	}
	discovery, err := s.startDiscovery()
	if err != nil {
		return err
	}
	defer discovery.stop()
	control, err := s.startControl(ctx)
	if err != nil {
		return err
	}
	defer control.stop()
	defer s.followReconnects(ctx)()
	return s.tree.RunReady(ctx, func() {
		s.mu.Lock()
		if s.state == StateStarting {
			s.state = StateReady
		}
		s.mu.Unlock()
		s.presenceChanged()
		ready()
	})
}

// end closes what only waits, and makes it anew for the next Run.
func (s *Service) end(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := errors.Join(s.Publisher().Close(ctx), s.Client().Close(ctx), s.renew())
	s.setState(StateIdle)
	if s.nc.IsClosed() {
		return nil
	}
	return err
}
