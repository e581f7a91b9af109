package chaos_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/chaos"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/inbox"
	"github.com/agner-go/agner/pkg/publish"
)

// journal is a state that keeps every event that reached the entity, in order.
type journal struct {
	Seen []string `json:"seen"`
}

func writes[T envelope.Payload](name func(T) string) inbox.Handler {
	return inbox.On(func(_ context.Context, tx *inbox.Tx[journal], e envelope.Event[T]) error {
		tx.State.Seen = append(tx.State.Seen, name(e.Data))
		return nil
	}, inbox.Subscribed())
}

func accrued(e chaos.Accrued) string { return fmt.Sprintf("accrued %d", e.N) }
func charged(e chaos.Charged) string { return fmt.Sprintf("charged %d", e.N) }

// TestSubscribeToOneMoreType adds a type to a running inbox under load, in a
// rolling deploy, with dedup windows so short that the server drops no repeat.
// No event of the old type is lost, repeated or out of order, nor one of the new
// type that was published after the first instance with it was ready.
func TestSubscribeToOneMoreType(t *testing.T) {
	t.Parallel()
	const keys = 40
	s := testserver.Start(t)
	js := s.JetStream(t)
	short(t, js)
	oldOne := runInbox(t, s.JetStream(t), writes(accrued))
	sent := startEvents(t, s.JetStream(t), keys)
	sent.reach(t, 25)

	first := runInbox(t, s.JetStream(t), writes(accrued), writes(charged))
	sent.charge()
	sent.reach(t, 50)
	oldOne.stop(t)
	second := runInbox(t, s.JetStream(t), writes(accrued), writes(charged))
	sent.reach(t, 75)
	first.stop(t)
	sent.reach(t, 100)
	want := sent.end()

	testserver.Eventually(t, time.Minute, func() error {
		have := journals(t, js)
		for key, events := range want {
			if !slices.Equal(have[key], events) {
				return fmt.Errorf("%s: state has %d events, published were %d: %s", key, len(have[key]), len(events), difference(have[key], events))
			}
		}
		return nil
	}, "every event in the state, once, in order")
	second.stop(t)
}

// short makes the streams with dedup windows of 200 ms.
func short(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	events, mail := stream.Events(""), stream.Inbox("", "journals", 8)
	events.Duplicates, mail.Duplicates = 200*time.Millisecond, 200*time.Millisecond
	p := stream.Provisioner{JS: js, Logger: slog.New(slog.DiscardHandler)}
	if err := p.Ensure(t.Context(), stream.Scheduled(""), events, stream.State("", "journals"), mail); err != nil {
		t.Fatal(err)
	}
}

type running struct {
	cancel context.CancelFunc
	done   chan error
}

// runInbox starts an instance and waits until it is ready.
func runInbox(t *testing.T, js jetstream.JetStream, handlers ...inbox.Handler) *running {
	t.Helper()
	in, err := inbox.New(js, inbox.Config{
		Name: "journals", Partitions: 8, LeaseTTL: time.Second, Settle: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	}, handlers...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &running{cancel: cancel, done: make(chan error, 1)}
	ready := make(chan struct{})
	go func() { r.done <- in.RunReady(ctx, func() { close(ready) }) }()
	t.Cleanup(func() { r.stop(t) })
	select {
	case <-ready:
	case err := <-r.done:
		t.Fatal(err)
	}
	return r
}

// stop ends an instance in order; a second time it does nothing.
func (r *running) stop(t *testing.T) {
	t.Helper()
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

// events publishes to each key, without end; what is published is written down.
type events struct {
	mu      sync.Mutex
	rounds  int
	charges bool
	want    map[string][]string
	over    chan struct{}
	cancel  context.CancelFunc
}

func startEvents(t *testing.T, js jetstream.JetStream, keys int) *events {
	t.Helper()
	pub, err := publish.New(js, publish.Config{Source: "/test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	e := &events{want: make(map[string][]string), over: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(e.over)
		defer func() { _ = pub.Close(context.WithoutCancel(ctx)) }()
		for n := 1; ctx.Err() == nil; n++ {
			for i := range keys {
				if err := e.publish(context.WithoutCancel(ctx), pub, chaos.KeyOf(i), n); err != nil {
					t.Error(err)
					return
				}
			}
			e.mu.Lock()
			e.rounds = n
			e.mu.Unlock()
		}
	}()
	return e
}

func (e *events) publish(ctx context.Context, pub *publish.Publisher, key string, n int) error {
	e.mu.Lock()
	charges := e.charges
	e.mu.Unlock()
	payloads := []envelope.Payload{chaos.Accrued{Key: key, N: n}}
	names := []string{fmt.Sprintf("accrued %d", n)}
	if charges {
		payloads, names = append(payloads, chaos.Charged{Key: key, N: n}), append(names, fmt.Sprintf("charged %d", n))
	}
	for i, p := range payloads {
		if _, err := pub.Publish(ctx, p); err != nil {
			return err
		}
		e.mu.Lock()
		e.want[key] = append(e.want[key], names[i])
		e.mu.Unlock()
	}
	return nil
}

// charge has the new type published from now on.
func (e *events) charge() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.charges = true
}

// reach waits for so many rounds.
func (e *events) reach(t *testing.T, rounds int) {
	t.Helper()
	testserver.Eventually(t, time.Minute, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.rounds >= rounds
	}, "%d rounds published", rounds)
}

func (e *events) end() map[string][]string {
	e.cancel()
	<-e.over
	return e.want
}

// journals reads the states as docs/wire.md has them.
func journals(t *testing.T, js jetstream.JetStream) map[string][]string {
	t.Helper()
	out := make(map[string][]string)
	const prefix = "state.journals.ent."
	c, err := js.OrderedConsumer(t.Context(), "STATE_journals", jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{prefix + ">"}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.FetchNoWait(1000)
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		var j journal
		if err := json.Unmarshal(m.Data(), &j); err != nil {
			t.Fatal(err)
		}
		out[strings.TrimPrefix(m.Subject(), prefix)] = j.Seen
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.Canceled) {
		t.Log(err)
	}
	return out
}

func difference(have, want []string) string {
	for i := range min(len(have), len(want)) {
		if have[i] != want[i] {
			return fmt.Sprintf("at %d stands %q, want %q", i, have[i], want[i])
		}
	}
	return fmt.Sprintf("the first %d are right", min(len(have), len(want)))
}
