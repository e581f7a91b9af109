package publish

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
)

// Publisher publishes events. It is safe for concurrent use; make one for each
// connection and source, not one for each publish. It starts nothing before its
// first publish. Close it to wait for what is in flight.
type Publisher struct {
	js     jetstream.JetStream
	nc     *nats.Conn
	cfg    Config
	target stream.Target
	codec  envelope.Codec // of cfg.ContentType

	// propagate writes the context of the hop (traceparent) into a message's
	// header. It is nil until there is telemetry.
	propagate func(ctx context.Context, h nats.Header)

	born      time.Time     // origin of the clock below
	window    chan struct{} // one token for each event in flight
	ready     atomic.Bool   // the first use has found its streams
	resendFor atomic.Int64  // how long after the first sending there may be another
	missed    atomic.Bool   // no stream listened on an event since then
	starting  chan struct{} // held by who makes the first use
	batching  chan struct{} // held by the batch that takes tokens
	closing   chan struct{} // closed by Close
	waiters   sync.Pool     // chan struct{} of synchronous publishes
	work      sync.WaitGroup

	mu         sync.Mutex
	inbox      string // prefix of all reply subjects, with its last dot
	sub        *nats.Subscription
	table      []*Future // by slot
	free       []uint16
	inFlight   int
	serial     uint32
	keys       keyQueues
	stream     string // name in the last acknowledgement, so that it is made once
	timer      *time.Timer
	armed      bool
	reconnects uint32         // of the connection, as of the last sweep
	violation  error          // last permission violation of the connection that was seen
	outbox     []*Future      // to be sent by the goroutine that sends again
	sending    bool           // that goroutine runs
	grouped    []transmission // written by whoever leads
	groupSpare []transmission // the other of two backing arrays
	leading    bool
	gathered   []*Future // settled, not yet woken
	gathering  bool
	closed     bool
	idle       chan struct{} // closed when nothing is in flight after Close
}

// New makes a Publisher on js, whose connection, domain and API prefix it uses.
// It validates cfg and starts nothing; the error lists all that is wrong.
func New(js jetstream.JetStream, cfg Config) (*Publisher, error) {
	return NewInto(js, cfg, stream.EventsTarget(subject.Namespace(cfg.Namespace)))
}

// NewInto is New for another stream than that of the events: package inbox
// publishes into mailboxes by it. A Target can be made by Agner's own packages
// only.
func NewInto(js jetstream.JetStream, cfg Config, to stream.Target) (*Publisher, error) {
	if js == nil {
		return nil, errors.New("publish: js is nil")
	}
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("publish: config: %w", err)
	}
	codec, err := cfg.Codecs.For(cfg.ContentType)
	if err != nil {
		return nil, fmt.Errorf("publish: config: ContentType: %w", err)
	}
	p := &Publisher{
		js:       js,
		nc:       js.Conn(),
		cfg:      cfg,
		target:   to,
		codec:    codec,
		born:     time.Now(),
		window:   make(chan struct{}, cfg.MaxInFlight),
		starting: make(chan struct{}, 1),
		batching: make(chan struct{}, 1),
		closing:  make(chan struct{}),
		idle:     make(chan struct{}),
		keys:     make(keyQueues),
	}
	p.resendFor.Store(int64(MaxRetryFor))
	return p, nil
}

// Publish publishes payload and returns once the stream has stored it. It
// takes type and key from the payload, and fills in id, source, time,
// datacontenttype, and correlation and causation from the handler's context.
//
// It takes at most until ctx's deadline, or Config.RetryFor if it has none. The
// error is an *Error; if ctx ends while the event is under way, the kind is
// ErrUnknown.
func (p *Publisher) Publish(ctx context.Context, payload envelope.Payload, opts ...Option) (Ack, error) {
	d, err := p.fromPayload(payload, opts)
	if err != nil {
		return Ack{}, d.notSent(opPublish, err)
	}
	return p.publish(ctx, &d)
}

// PublishEvent publishes an event of the CNCF SDK. Its own attributes stand;
// id, time, correlation and causation are filled in where it has none. Errors
// are those of Publish.
func (p *Publisher) PublishEvent(ctx context.Context, e event.Event, opts ...Option) (Ack, error) {
	d, err := fromSDK(e, opts)
	if err != nil {
		return Ack{}, d.notSent(opPublish, err)
	}
	return p.publish(ctx, &d)
}

// PublishRaw publishes an event whose data are bytes, which are sent as they
// are. Its own attributes stand; id, source, time, correlation and causation
// are filled in where it has none, and Delivery is ignored. The data must not
// change before PublishRaw returns, nor after an error of kind ErrUnknown.
// Errors are those of Publish.
func (p *Publisher) PublishRaw(ctx context.Context, e envelope.Raw, opts ...Option) (Ack, error) {
	d := fromRaw(&e, opts)
	return p.publish(ctx, &d)
}

// PublishAsync publishes payload and returns as soon as it is in the window; it
// waits while the window is full. Events of one key are stored in the order of
// the calls. All failures, a context that ends while the window is full
// included, come by the Future.
//
// The whole publish takes at most until ctx's deadline, or Config.RetryFor if
// it has none; cancelling ctx after PublishAsync has returned changes nothing.
func (p *Publisher) PublishAsync(ctx context.Context, payload envelope.Payload, opts ...Option) *Future {
	d, err := p.fromPayload(payload, opts)
	if err != nil {
		return settledFuture(p, d.notSent(opPublish, err))
	}
	return p.publishAsync(ctx, &d)
}

func (p *Publisher) publishAsync(ctx context.Context, d *draft) *Future {
	f := &Future{publisher: p}
	if d.schedule.kind == scheduledCron {
		return settledFuture(p, d.notSent(opPublish, fmt.Errorf("%w: Cron is not for asynchronous publishes: use Publish", ErrSchedule)))
	}
	if err := p.prepare(ctx, f, d); err != nil {
		return settledFuture(p, err)
	}
	if err := p.submit(ctx, f); err != nil {
		return settledFuture(p, err)
	}
	return f
}

// PublishRawAsync publishes an event as PublishRaw does, and returns as soon as
// it is in the window, as PublishAsync does. The data must not change before
// the Future is done, nor after an error of kind ErrUnknown.
func (p *Publisher) PublishRawAsync(ctx context.Context, e envelope.Raw, opts ...Option) *Future {
	d := fromRaw(&e, opts)
	return p.publishAsync(ctx, &d)
}

// publish is the way of one synchronous event.
func (p *Publisher) publish(ctx context.Context, d *draft) (Ack, error) {
	f := &Future{publisher: p, pooled: true}
	if err := p.prepare(ctx, f, d); err != nil {
		return Ack{}, err
	}
	if d.schedule.kind == scheduledCron {
		return p.declare(ctx, d)
	}
	return p.submitAndWait(ctx, f)
}

func (p *Publisher) submitAndWait(ctx context.Context, f *Future) (Ack, error) {
	done, _ := p.waiters.Get().(chan struct{})
	if done == nil {
		done = make(chan struct{}, 1)
	}
	defer p.waiters.Put(done)
	f.done = done
	if err := p.submit(ctx, f); err != nil {
		return Ack{}, err
	}
	select {
	case <-done:
	case <-ctx.Done():
		p.abandon(f, ctxErr(ctx))
		<-done
	}
	return f.ack, f.err
}

// prepare completes the event and makes the streams at first use.
func (p *Publisher) prepare(ctx context.Context, f *Future, d *draft) error {
	now := time.Now()
	p.setDeadline(ctx, f, now)
	if err := p.complete(ctx, d, now); err != nil {
		return d.notSent(f.op, err)
	}
	if err := p.start(ctx); err != nil {
		return d.notSent(f.op, err)
	}
	a := &d.raw.Attributes
	f.msg, f.ack.ID, f.ack.Schedule = d.msg, a.ID, d.schedule.id
	if declared := d.schedule.kind == scheduledCron; declared {
		return nil // without a message id: it is stored by compare-and-set
	}
	f.msgID[0] = d.messageID()
	f.msg.Header[headerMsgID] = f.msgID[:]
	f.own[0].key = a.Key
	return nil
}

func (p *Publisher) setDeadline(ctx context.Context, f *Future, now time.Time) {
	if deadline, ok := ctx.Deadline(); ok {
		f.deadline, f.byCtx = int64(deadline.Sub(p.born)), true
		return
	}
	f.deadline = int64(now.Sub(p.born) + p.cfg.RetryFor)
}

func (d *draft) notSent(o op, err error) error {
	return &Error{Op: o.String(), Subject: d.subject, ID: d.raw.ID, Kind: ErrNotSent, Err: err}
}

// Close waits until all that is in flight is settled, and gives up what is not
// when ctx ends: it then returns ctx's error, and each event its own. A publish
// that begins after Close, or waits for room in the window, fails with
// ErrClosed. Close may be called more than once; it does not close the
// connection.
func (p *Publisher) Close(ctx context.Context) error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.closing)
		if p.inFlight == 0 {
			close(p.idle)
		}
	}
	p.mu.Unlock()
	var err error
	select {
	case <-p.idle:
	case <-ctx.Done():
		if n := p.giveUp(ErrClosed); n > 0 {
			err = fmt.Errorf("publish: close: %d events were given up: %w", n, ctxErr(ctx))
		}
		<-p.idle
	}
	p.mu.Lock()
	p.wakeAll()
	if p.timer != nil {
		p.timer.Stop()
	}
	sub := p.sub
	p.sub = nil
	p.mu.Unlock()
	p.waitSender(ctx)
	if sub != nil {
		if unsubErr := sub.Unsubscribe(); unsubErr != nil && !p.nc.IsClosed() && err == nil {
			err = fmt.Errorf("publish: close: %w", unsubErr)
		}
	}
	return err
}

// waitSender waits for the goroutine that sends again. It may be held by a
// socket that takes nothing, and then ends with it.
func (p *Publisher) waitSender(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		p.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}
