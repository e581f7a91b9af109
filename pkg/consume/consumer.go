package consume

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/connection"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/supervise"
)

// Consumer handles the events of one group in this process. Run, once at a
// time, does the work; all methods are safe for concurrent use.
type Consumer struct {
	js      jetstream.JetStream
	cfg     Config
	subs    []Subscription
	counts  []*counters
	running atomic.Bool
	tree    atomic.Pointer[supervise.Supervisor] // of the latest Run
}

// New validates a group with its subscriptions. It starts nothing and asks the
// server nothing. Errors wrap ErrConfig or say which name or type is not valid.
func New(js jetstream.JetStream, cfg Config, subs ...Subscription) (*Consumer, error) {
	if js == nil {
		return nil, fmt.Errorf("consume: JetStream is nil: %w", ErrConfig)
	}
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("consume: %w", err)
	}
	if cfg.Instance == "" {
		cfg.Instance = strings.ToLower(rand.Text()[:12])
	}
	c := &Consumer{js: js, cfg: cfg}
	seen := make(map[string]bool, len(subs))
	for _, s := range subs {
		r, err := s.resolve(cfg)
		if err != nil {
			return nil, fmt.Errorf("consume: group %s: subscription %s%s: %w", cfg.Group, s.name, s.pattern, err)
		}
		if seen[r.name] {
			return nil, fmt.Errorf("consume: group %s: two subscriptions are named %s: give one WithName: %w", cfg.Group, r.name, ErrConfig)
		}
		seen[r.name] = true
		c.subs = append(c.subs, r)
		c.counts = append(c.counts, &counters{flow: flow{concurrency: r.concurrency, rate: r.rate}})
	}
	if len(subs) == 0 {
		return nil, fmt.Errorf("consume: group %s has no subscription: %w", cfg.Group, ErrConfig)
	}
	return c, nil
}

// Run consumes until ctx ends, then drains as the package's documentation says.
// It returns nil after a clean drain, *DrainError if handlers outlasted
// DrainTimeout, ErrRunning if it runs already, and before that whatever made it
// stop: a stream or durable that could not be made or belongs to somebody else
// (ErrDurableTaken), or a subscription that failed more often than its
// supervisor allows. Run may be called again once it has returned.
func (c *Consumer) Run(ctx context.Context) error { return c.RunReady(ctx, func() {}) }

// RunReady is Run, and calls ready once every subscription is bound to its
// durable and pulls. It makes a Consumer a supervise.ReadyRunner.
func (c *Consumer) RunReady(ctx context.Context, ready func()) error {
	if !c.running.CompareAndSwap(false, true) {
		return fmt.Errorf("consume: group %s: %w", c.cfg.Group, ErrRunning)
	}
	defer c.running.Store(false)
	b, err := c.prepare(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before it had begun
		}
		return fmt.Errorf("consume: group %s: %w", c.cfg.Group, err)
	}
	return c.supervise(ctx, b, ready)
}

// prepare provisions, and waits for a broker that is away, starts, or elects a
// leader: a program may start before its broker does.
func (c *Consumer) prepare(ctx context.Context) (*backing, error) {
	for wait := healFirst; ; wait = min(2*wait, healMost) {
		b, err := c.provision(ctx)
		if err == nil || ctx.Err() != nil || c.js.Conn().IsClosed() || !connection.Unavailable(err) {
			return b, err
		}
		c.cfg.Logger.WarnContext(ctx, "the broker cannot serve the group yet; trying again", "group", c.cfg.Group, "error", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// provision makes what is missing, for all subscriptions before any of them
// starts: what is wrong in the configuration ends Run instead of a restart loop.
func (c *Consumer) provision(ctx context.Context) (*backing, error) {
	b := &backing{js: c.js, ns: subject.Namespace(c.cfg.Namespace), group: c.cfg.Group, provisioner: c.provisioner()}
	if err := b.ensure(ctx); err != nil {
		return nil, err
	}
	for i, s := range c.subs {
		l := newLoop(b, c.cfg, s, c.counts[i])
		if err := l.bind(ctx); err != nil {
			return nil, fmt.Errorf("subscription %s: %w", s.name, err)
		}
		l.main.durable.reportDrift(ctx, l.log)
		l.lane.durable.reportDrift(ctx, l.log)
	}
	return b, nil
}

func (c *Consumer) provisioner() *stream.Provisioner {
	return &stream.Provisioner{
		JS: c.js, Replicas: c.cfg.Replicas, Durability: c.cfg.Durability, Bind: !c.cfg.provision(), Logger: c.cfg.Logger,
	}
}

// supervise runs each subscription as a child. All of them drain side by side
// when ctx ends or their supervisor gives up, each within DrainTimeout, so that
// the whole takes no longer than one.
func (c *Consumer) supervise(ctx context.Context, b *backing, ready func()) error {
	whole, drain := context.WithCancel(ctx)
	defer drain()
	late := &drainErrors{}
	children := make([]supervise.Child, 0, len(c.subs))
	for i, s := range c.subs {
		children = append(children, supervise.Child{
			Name:     s.name,
			Shutdown: supervise.Infinite, // the loop bounds its own drain
			Runner: supervise.ReadyFunc(func(own context.Context, ready func()) error {
				return c.child(whole, own, newLoop(b, c.cfg, s, c.counts[i]), ready, late)
			}),
		})
	}
	tree := c.cfg.Supervision
	tree.Name, tree.Logger, tree.Template = c.cfg.Group, c.cfg.Logger, nil
	tree.OnEvent = func(e supervise.Event) {
		if e.Path == c.cfg.Group && e.To == supervise.StateStopping {
			drain()
		}
		if hook := c.cfg.Supervision.OnEvent; hook != nil {
			hook(e)
		}
	}
	tree.Gate = connection.NewGate(c.js.Conn(), connection.Unavailable)
	sup, err := supervise.New(tree, children...)
	if err != nil {
		return fmt.Errorf("consume: group %s: %w", c.cfg.Group, err)
	}
	defer c.watchConnection()()
	c.tree.Store(sup)
	err = sup.RunReady(ctx, ready)
	return errors.Join(late.join(), err)
}

// child runs one subscription. Its supervisor ends own in the turn of this
// child; the drain begins as soon as whole ends.
func (c *Consumer) child(whole, own context.Context, l *loop, ready func(), late *drainErrors) error {
	run, stop := context.WithCancel(own)
	defer stop()
	defer context.AfterFunc(whole, stop)()
	l.counters.setLoop(l)
	defer l.counters.setLoop(nil)
	err := l.live(run, ready)
	if run.Err() == nil {
		return err
	}
	late.add(err)
	// A child that ends before its turn would be started again.
	<-own.Done()
	return nil
}

// drainErrors collects what went wrong while stopping: a supervisor has no use
// for it, the caller of Run has.
type drainErrors struct {
	mu   sync.Mutex
	errs []error
}

func (d *drainErrors) add(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.errs = append(d.errs, err)
}

func (d *drainErrors) join() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.errs...)
}

// watchConnection tells all loops when the connection has come back: requests
// of the connection before are lost.
func (c *Consumer) watchConnection() (stop func()) {
	nc := c.js.Conn()
	status := nc.StatusChanged(nats.CONNECTED)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case _, ok := <-status:
				if !ok {
					return
				}
				for _, k := range c.counts {
					k.mu.Lock()
					l := k.loop
					k.mu.Unlock()
					if l != nil {
						l.reconnected()
					}
				}
			}
		}
	}()
	return func() {
		close(done)
		nc.RemoveStatusListener(status)
		<-ended
	}
}

// Tree is the supervision tree of the subscriptions, as it is or was in the
// latest Run; zero before the first.
func (c *Consumer) Tree() supervise.Status {
	if sup := c.tree.Load(); sup != nil {
		return sup.Status()
	}
	return supervise.Status{}
}

// Status says what each subscription is doing.
func (c *Consumer) Status() Status {
	st := Status{Group: c.cfg.Group, Instance: c.cfg.Instance}
	for i, s := range c.subs {
		st.Subscriptions = append(st.Subscriptions, c.counts[i].status(s, subject.Durable(c.cfg.Group, s.name)))
	}
	return st
}
