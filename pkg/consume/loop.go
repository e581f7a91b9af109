package consume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"github.com/agner-go/agner/internal/goroutine"
	"github.com/agner-go/agner/internal/subject"
)

// loop is the life of one subscription within one Run: two sources feed one
// queue, workers take from it, a keeper keeps the server informed.
type loop struct {
	*backing
	cfg    Config
	sub    Subscription
	filter string
	log    *slog.Logger

	born        time.Time
	durableName string
	handler     HandlerFunc
	batch       batchHandler // instead of handler
	policy      retryPolicy
	maxBuffer   int
	counters    *counters // outlives the loop

	main, lane *source
	laneStream atomic.Pointer[jetstream.Stream]
	created    atomic.Int64  // of EVENTS, in ns: sequences mean something only with it
	generation atomic.Uint64 // resets of the subscription, as far as we know
	ackWait    time.Duration

	// base is the context of handlers: it outlives the context of Run until
	// the drain gives up. A loop lives for one Run only, so the context does
	// not outlast what it is for.
	base   context.Context //nolint:containedctx // see above
	cancel context.CancelFunc

	mu        sync.Mutex
	wake      sync.Cond
	queue     []*delivery // received, not begun; from first on
	first     int
	unsettled list
	idle      int                    // workers that wait
	workers   int                    // workers, without those that hang
	running   int                    // handlers that run, without those that hang
	hung      map[*delivery]struct{} // leads of handlers that were given up and have not returned
	pace      pace
	seen      seen
	draining  bool

	wanted     int // workers that the configuration allows at once
	limit      int // workers that may run at once now
	fuse       fuse
	rate       *rate.Limiter // nil: no bound
	rateWait   bool          // workers are about to be woken by the rate
	failed     chan error
	stopping   chan struct{}  // closed when a drain begins
	background sync.WaitGroup // lookups and late settlements; all heed base
	changed    chan struct{}  // tells a drain that something was settled
}

func newLoop(b *backing, cfg Config, sub Subscription, c *counters) *loop {
	filter, _ := b.ns.Filter(sub.pattern) // resolve has checked it
	l := &loop{
		backing: b, cfg: cfg, sub: sub, filter: filter,
		log:         cfg.Logger.With("group", cfg.Group, "subscription", sub.name),
		born:        time.Now(),
		durableName: subject.Durable(cfg.Group, sub.name),
		policy:      retryPolicy{maxAttempts: sub.maxAttempts, first: sub.first, most: sub.most},
		maxBuffer:   cfg.MaxBuffer,
		counters:    c,
		hung:        map[*delivery]struct{}{},
		pace:        newPace(sub.concurrency, sub.batchMost),
		failed:      make(chan error, 1),
		changed:     make(chan struct{}, 1),
		stopping:    make(chan struct{}),
	}
	if sub.bindBatch != nil {
		l.batch = sub.bindBatch(cfg.Codecs)
	} else {
		l.handler = chain(sub.bind(cfg.Codecs), cfg.Middleware, sub.middleware)
	}
	l.wake.L = &l.mu
	l.wanted, l.limit = sub.concurrency, sub.concurrency
	l.fuse.KillSwitch = cfg.KillSwitch
	l.fuse.reset()
	l.main, l.lane = l.source(mainDurable(b.ns, cfg, sub)), l.source(laneDurable(b.ns, cfg, sub))
	return l
}

// clock is the monotonic time of the loop.
func (l *loop) clock() time.Duration { return time.Since(l.born) }

// fail ends the loop with an error; the first one counts.
func (l *loop) fail(err error) {
	select {
	case l.failed <- err:
	default:
	}
}

// live consumes until ctx ends, then drains. An error before that is the
// supervisor's business: it runs a new loop.
func (l *loop) live(ctx context.Context, ready func()) error {
	l.base, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer l.cancel()
	if err := l.bind(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before it had begun
		}
		return fmt.Errorf("consume %s: %w", l.durableName, err)
	}
	l.ackWait = time.Duration(min(l.main.durable.ackWait.Load(), l.lane.durable.ackWait.Load()))
	if err := l.open(); err != nil {
		return errors.Join(fmt.Errorf("consume %s: %w", l.durableName, err), l.stop())
	}
	l.counters.setState(StateRunning, nil)
	ready()
	l.background.Go(l.observe)
	err := l.keep(ctx)
	l.counters.setState(StateDraining, err)
	drainErr := l.stop()
	l.counters.setState(StateStopped, errors.Join(err, drainErr))
	if err != nil {
		return fmt.Errorf("consume %s: %w", l.durableName, err)
	}
	return drainErr
}

func (l *loop) source(d *durable) *source {
	prefix := l.js.Options().APIPrefix
	if prefix == "" {
		prefix = jetstream.DefaultAPIPrefix
		if domain := l.js.Options().Domain; domain != "" {
			prefix = "$JS." + domain + ".API."
		}
	}
	return &source{
		loop: l, durable: d,
		next: prefix + "CONSUMER.MSG.NEXT." + d.stream + "." + d.config.Durable,
	}
}

func (l *loop) open() error {
	for _, s := range []*source{l.main, l.lane} {
		if err := s.start(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.main.pull()
	l.lane.pull()
	return nil
}

// reconnected is called when the connection has come back.
func (l *loop) reconnected() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range []*source{l.main, l.lane} {
		if s.sub != nil {
			s.reconnected()
		}
	}
}

// keep is the keeper: until ctx ends or the loop fails it extends deadlines and
// watches over sources and handlers.
func (l *loop) keep(ctx context.Context) error {
	tick := time.NewTicker(min(max(l.ackWait/12, 10*time.Millisecond), time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-l.failed:
			return err
		case now := <-tick.C:
			l.tend(now)
			if err := l.permission(); err != nil {
				return err
			}
		}
	}
}

func (l *loop) tend(now time.Time) {
	l.mu.Lock()
	hung := l.extend(now)
	if !l.draining {
		l.rekindle(now)
		l.main.check(now)
		l.lane.check(now)
	}
	l.mu.Unlock()
	l.abandonAll(hung)
}

// abandonAll gives up on handlers that hang. One dump of all goroutines serves
// them all.
func (l *loop) abandonAll(hung []*delivery) {
	if len(hung) == 0 {
		return
	}
	ids := make([]string, 0, len(hung))
	for _, d := range hung {
		ids = append(ids, d.worker)
	}
	found := goroutine.Stacks(ids)
	for _, d := range hung {
		l.abandon(d, found[d.worker])
	}
}

// extend tells the server of every event that we still work on, each a third of
// AckWait after its last sign of life, with l.mu held. It returns the deliveries
// whose handlers have outlived their deadline by a grace: those get no more time.
func (l *loop) extend(now time.Time) (hung []*delivery) {
	connected := l.js.Conn().IsConnected()
	for d := l.unsettled.head; d != nil && now.Sub(d.extended) >= l.ackWait/3; {
		next := d.next
		switch {
		case l.isHung(d):
			for _, m := range d.together() {
				m.settled = true
				hung = append(hung, m)
			}
			l.solo.end(&d.lead().turn)
			l.loseWorker(d.lead())
		case connected:
			l.say(d, wordProgress)
			d.extended = now
			l.unsettled.remove(d)
			l.unsettled.push(d)
		}
		d = next
	}
	return hung
}

// hangGrace is what a handler gets beyond its deadline to notice it.
const hangGrace = time.Second

func (l *loop) isHung(d *delivery) bool {
	return !d.settled && d.lead().turn.ran(l.clock) > l.sub.handlerTimeout+hangGrace
}

// loseWorker writes off a worker whose handler does not come back, with loop.mu
// held, and lets another take its place, within a bound: a handler that hangs
// again and again must not fill the process with goroutines.
func (l *loop) loseWorker(lead *delivery) {
	l.running--
	l.workers--
	l.hung[lead] = struct{}{}
	most := l.cfg.MaxHung
	if most == 0 {
		most = l.wanted
	}
	if len(l.hung) > most {
		l.fail(fmt.Errorf("%w: %d handlers hang", ErrHung, len(l.hung)))
		return
	}
	l.wake.Signal() // there may be workers that the limit kept waiting
	l.hire()
}
