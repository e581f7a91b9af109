package natstest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/deadletter"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

// HandleOption changes how [Env.Handle] runs a handler.
type HandleOption func(*handling)

type handling struct {
	attempt int
	config  consume.Config
	publish []publish.Option
}

// Attempt runs the handler as the n-th attempt, from 1: the attempts before have
// failed, without the handler. Each of them takes the 250 ms of the server's
// least delay, or no time in a [Bubble].
func Attempt(n int) HandleOption { return func(h *handling) { h.attempt = n } }

// WithConfig handles with the settings of cfg: attempts, delays, timeouts,
// codecs, middleware. Group, Namespace, Instance, Concurrency, Start and Provision
// are the test's.
func WithConfig(cfg consume.Config) HandleOption { return func(h *handling) { h.config = cfg } }

// WithPublish publishes the event with options: an id, a key, a time.
func WithPublish(opts ...publish.Option) HandleOption {
	return func(h *handling) { h.publish = append(h.publish, opts...) }
}

// group of the subscriptions of Handle.
const group = "natstest"

// Handle gives one event to one subscription, runs its handler once, and returns
// what became of the event:
//
//	out := env.Handle(consume.On(charge), OrderPlaced{OrderID: "o-1"}, natstest.Attempt(3))
//	if out.Kind != natstest.Retried { t.Fatal(out) }
//
// It works in a namespace of its own, so that nothing else of the test sees the
// event; what the handler publishes goes where the handler's publisher sends it.
func (e *Env) Handle(sub consume.Subscription, payload envelope.Payload, opts ...HandleOption) Outcome {
	e.tb.Helper()
	h := handling{attempt: 1}
	for _, o := range opts {
		o(&h)
	}
	if h.attempt < 1 {
		e.tb.Fatalf("natstest: handle: attempt %d: they count from 1", h.attempt)
	}
	run := &handleRun{
		env: e, ns: subject.Namespace(fmt.Sprintf("natstest-%d", e.handles.Add(1))),
		watch: &watch{until: h.attempt},
	}
	cfg := h.config
	cfg.Group, cfg.Namespace, cfg.Concurrency = group, string(run.ns), 1
	cfg.Instance, cfg.Start, cfg.Provision = "", consume.FromOldest(), nil
	cfg.Middleware = append([]consume.Middleware{run.watch.middleware}, cfg.Middleware...)
	c, err := consume.New(e.js, cfg, sub)
	if err != nil {
		e.tb.Fatalf("natstest: handle: %v", err)
	}
	run.ack = e.publish(string(run.ns), payload, h.publish...)
	return run.outcome(c)
}

// handleRun is one call of Handle.
type handleRun struct {
	env   *Env
	ns    subject.Namespace
	ack   publish.Ack
	watch *watch
}

func (r *handleRun) outcome(c *consume.Consumer) Outcome {
	tb := r.env.tb
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("natstest: handle: %v", err)
		}
	}()

	var out Outcome
	r.env.eventually(func() error {
		select {
		case err := <-ended:
			ended <- nil
			return fmt.Errorf("the consumer ended: %w", err)
		default:
		}
		st := c.Status().Subscriptions[0]
		var ok bool
		if out, ok = r.settled(st); !ok {
			return fmt.Errorf("no outcome yet: %d runs, last error %q", st.Handled+st.Failed, st.LastError)
		}
		return nil
	}, "handle")
	switch out.Kind {
	case Retried:
		out.After = r.delay(ctx, c.Status().Subscriptions[0].Name)
	case Dead:
		out.Letter = r.letter(ctx)
	case Acked, Discarded:
	}
	return out
}

// settled tells whether the run that is asked for has an outcome. The attempts
// before it are retries too, one each.
func (r *handleRun) settled(st consume.SubscriptionStatus) (Outcome, bool) {
	out, ran := r.watch.result()
	before := uint64(r.watch.until - 1) //nolint:gosec // checked to be 1 or more
	switch {
	case st.Dead > 0:
		out.Kind = Dead
	case st.Discarded > 0:
		out.Kind = Discarded
	case st.Handled > 0:
		out.Kind = Acked
	case ran && st.Retried > before:
		out.Kind = Retried
	default:
		return Outcome{}, false
	}
	return out, true
}

// delay reads from the retry lane when the event comes again.
func (r *handleRun) delay(ctx context.Context, subscription string) time.Duration {
	tb := r.env.tb
	tb.Helper()
	lane, err := r.env.js.Stream(ctx, stream.RetryName(r.ns, group))
	if err != nil {
		tb.Fatalf("natstest: handle: look up retry lane: %v", err)
	}
	m, err := lane.GetLastMsgForSubject(ctx, r.ns.RetryWait(group, subscription, r.ack.Sequence))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0 // it has come already
	}
	if err != nil {
		tb.Fatalf("natstest: handle: read retry: %v", err)
	}
	at, err := time.Parse(time.RFC3339Nano, strings.TrimPrefix(m.Header.Get("Nats-Schedule"), "@at "))
	if err != nil {
		tb.Fatalf("natstest: handle: read retry: time of the schedule: %v", err)
	}
	return at.Sub(m.Time)
}

func (r *handleRun) letter(ctx context.Context) *deadletter.Letter {
	tb := r.env.tb
	tb.Helper()
	all, err := deadLetters(ctx, r.env.js, r.ns, group)
	if err != nil || len(all) != 1 {
		tb.Fatalf("natstest: handle: the stream DEAD holds %d dead letters of the handler, error %v", len(all), err)
	}
	return all[0]
}

// watch sees the runs of a handler, and fails those before the one that counts
// in its place.
type watch struct {
	until int

	mu  sync.Mutex
	ran bool
	out Outcome
}

var errEarlier = errors.New("natstest: an attempt before the one that is tested")

func (w *watch) middleware(next consume.HandlerFunc) consume.HandlerFunc {
	return func(ctx context.Context, e envelope.Raw) (err error) {
		n := e.Delivery.Attempt
		if n < w.until {
			return consume.RetryAfter(0, errEarlier)
		}
		defer func() {
			v := recover()
			if v != nil {
				err = &consume.PanicError{Value: v, Stack: debug.Stack()}
			}
			w.note(Outcome{Attempt: n, Err: err, Panicked: v != nil})
		}()
		return next(ctx, e)
	}
}

// note keeps the first run: later ones are of retries that came while the test
// looked away.
func (w *watch) note(o Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ran {
		w.ran, w.out = true, o
	}
}

func (w *watch) result() (Outcome, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out, w.ran
}
