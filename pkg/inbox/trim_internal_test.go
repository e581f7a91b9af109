package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
)

type ping struct{}

func (ping) EventType() string { return "ping.v1" }

// TestTrim trims the mailbox up to what is committed, with partitions that never
// had a message and one whose message cannot be handled yet: that one stays.
func TestTrim(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	var mu sync.Mutex
	fail := true
	in, err := New(js, Config{Name: "trim", Partitions: 16, MaxAttempts: 1000, Settle: time.Millisecond, Logger: slog.New(slog.DiscardHandler)},
		On(func(_ context.Context, tx *Tx[int], _ envelope.Event[ping]) error {
			mu.Lock()
			defer mu.Unlock()
			if fail && tx.Key == "stuck" {
				return errors.New("not yet")
			}
			tx.State++
			tx.Publish(ping{})
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- in.RunReady(ctx, func() { close(ready) }) }()
	<-ready
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	to, err := NewClient(js, "trim")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = to.Close(context.Background()) }()
	send := func(key string) {
		t.Helper()
		if err := to.Send(t.Context(), key, ping{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		send("k" + strconv.Itoa(i%2))
	}
	send("stuck")
	for i := range 20 {
		send("k" + strconv.Itoa(i%2))
	}
	tr := &trimmer{e: in.engine.Load(), outs: map[int]uint64{}}
	left := func(want func(first, msgs uint64) bool) func() error {
		return func() error {
			for _, f := range []func(context.Context) error{tr.trimMail, tr.trimOuts, tr.trimSent} {
				if err := f(t.Context()); err != nil {
					return err
				}
			}
			s, err := js.Stream(t.Context(), "INBOX_trim")
			if err != nil {
				return err
			}
			if st := s.CachedInfo().State; !want(st.FirstSeq, st.Msgs) {
				return fmt.Errorf("mailbox begins at %d and holds %d", st.FirstSeq, st.Msgs)
			}
			return nil
		}
	}
	const wait = 20 * time.Second
	testserver.Eventually(t, wait, func() bool { return in.Status().Handled >= 40 }, "the others are handled")
	for range 10 {
		if err := left(func(first, _ uint64) bool { return first <= 21 })(); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	fail = false
	mu.Unlock()
	testserver.Eventually(t, wait, left(func(_, msgs uint64) bool { return msgs == 0 }), "the mailbox is empty")
	if got, err := Read[int](t.Context(), in, "stuck"); err != nil || got != 1 {
		t.Errorf("stuck: %d, %v", got, err)
	}
	testserver.Eventually(t, wait, func() error {
		if err := tr.trimOuts(t.Context()); err != nil {
			return err
		}
		for p := range 16 {
			m, err := in.engine.Load().server.last(t.Context(), "STATE_trim", in.subjects.Out(p, "ping.v1._"))
			if err != nil || m != nil {
				return fmt.Errorf("partition %d: %v, %w", p, m, err)
			}
		}
		return nil
	}, "outputs are trimmed")
}
