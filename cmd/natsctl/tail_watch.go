package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// tailer shows what passes the filter.
type tailer struct {
	app     *app
	options tailOptions
	filter  eventFilter
	view    *eventView
	js      jetstream.JetStream
	stream  string
	shown   int
}

// errMadeAnew reports that the stream was deleted, and perhaps made again,
// while it was watched: the watch itself would wait for ever.
var errMadeAnew = errors.New("stream was deleted")

// forgetAfter is when the server removes the consumer of a watch that is gone.
const forgetAfter = 10 * time.Second

// run watches until ctx or the options end it, also over a stream that is made
// anew.
func (t *tailer) run(ctx context.Context, cfg jetstream.OrderedConsumerConfig) error {
	for {
		info, waited, err := t.awaitStream(ctx)
		if err != nil {
			return err
		}
		switch {
		case waited:
			// Whatever it holds came after we began.
			cfg = jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy}
		case cfg.DeliverPolicy == jetstream.DeliverNewPolicy:
			// Said by its sequence: nats.go makes the consumer anew after a
			// lost connection, and "new" would then pass over what was stored
			// meanwhile.
			cfg = jetstream.OrderedConsumerConfig{
				DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: info.State.LastSeq + 1,
			}
		}
		cfg.FilterSubjects = t.filter.subjects
		cfg.InactiveThreshold = forgetAfter
		err = t.watch(ctx, cfg, info.Created)
		if !errors.Is(err, errMadeAnew) {
			return err
		}
		fmt.Fprintf(t.app.stderr, "natsctl: stream %s was deleted\n", t.stream)
		cfg = jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy}
	}
}

// awaitStream waits until the stream is there: the first publish or service
// makes it, and whoever watches may come before. Without following, a stream
// that is not there is an error.
func (t *tailer) awaitStream(ctx context.Context) (info *jetstream.StreamInfo, waited bool, err error) {
	const every = 250 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		reconnects := t.js.Conn().Stats().Reconnects
		found, err := t.js.Stream(ctx, t.stream)
		switch {
		case err == nil:
			return found.CachedInfo(), waited, nil
		case !t.js.Conn().IsConnected() || t.js.Conn().Stats().Reconnects != reconnects:
			// The question, or its answer, was lost with the connection.
		case is(err, jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount):
			return nil, false, fmt.Errorf("this server has no JetStream: start it with -js, or use `natsctl dev`: %w", err)
		case !errors.Is(err, jetstream.ErrStreamNotFound):
			return nil, false, fmt.Errorf("stream %s: %w", t.stream, err)
		case t.options.noFollow:
			return nil, false, notFoundf("stream %s does not exist: the first publish, or service, makes it", t.stream)
		case !waited:
			fmt.Fprintf(t.app.stderr, "natsctl: stream %s does not exist yet: waiting for the first event\n", t.stream)
			waited = true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
}

// arrival is what Next returned.
type arrival struct {
	msg jetstream.Msg
	err error
}

// idleCheck is how often the stream is looked at while no event comes.
const idleCheck = 3 * time.Second

// watch shows messages until it is enough. The waiting is done by a goroutine
// of its own: nats.go does not heed a context while it tries to make a consumer
// on a stream, or server, that is gone.
func (t *tailer) watch(ctx context.Context, cfg jetstream.OrderedConsumerConfig, created time.Time) error {
	cons, err := t.js.OrderedConsumer(ctx, t.stream, cfg)
	if err != nil {
		return fmt.Errorf("watch stream %s: %w", t.stream, err)
	}
	if t.options.noFollow && cons.CachedInfo().NumPending == 0 {
		return nil
	}
	msgs, err := cons.Messages()
	if err != nil {
		return fmt.Errorf("watch stream %s: %w", t.stream, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		go msgs.Stop() // may wait for as long as Next does
	}()
	arrivals := make(chan arrival)
	go pump(ctx, msgs, arrivals)
	return t.show(ctx, arrivals, created)
}

func pump(ctx context.Context, msgs jetstream.MessagesContext, arrivals chan<- arrival) {
	for {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		select {
		case arrivals <- arrival{m, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (t *tailer) show(ctx context.Context, arrivals <-chan arrival, created time.Time) error {
	tick := time.NewTicker(idleCheck)
	defer tick.Stop()
	for {
		select {
		case a := <-arrivals:
			if enough, err := t.take(a); enough || err != nil {
				return err
			}
			tick.Reset(idleCheck)
		case <-tick.C:
			if t.madeAnew(ctx, created) {
				return errMadeAnew
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take shows one message, and says whether it was the last one.
func (t *tailer) take(a arrival) (enough bool, err error) {
	var meta *jetstream.MsgMetadata
	if err = a.err; err == nil {
		meta, err = a.msg.Metadata()
	}
	if err != nil {
		return true, fmt.Errorf("watch stream %s: %w", t.stream, err)
	}
	if t.filter.passes(a.msg) {
		if err := t.view.show(a.msg, meta); err != nil {
			return true, err
		}
		t.shown++
	}
	return t.shown > 0 && t.shown == t.options.count || t.options.noFollow && meta.NumPending == 0, nil
}

// madeAnew tells whether the stream is no more the one that the watch began
// with. What comes of the connection is looked after by nats.go.
func (t *tailer) madeAnew(ctx context.Context, created time.Time) bool {
	ctx, cancel := context.WithTimeout(ctx, t.app.connection.timeout)
	defer cancel()
	found, err := t.js.Stream(ctx, t.stream)
	if err != nil {
		return errors.Is(err, jetstream.ErrStreamNotFound)
	}
	return !found.CachedInfo().Created.Equal(created)
}
