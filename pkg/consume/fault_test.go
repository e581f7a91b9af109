package consume_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// acked stores an event and tries again until the server has acknowledged it.
func acked(ctx context.Context, t *testing.T, js jetstream.JetStream, id string) error {
	t.Helper()
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		_, err := js.PublishMsg(try, message(t, id, orderPlaced{OrderID: "o-" + id}), jetstream.WithMsgID(id))
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

func TestServerKilledUnderTheConsumer(t *testing.T) {
	t.Parallel()
	server := testserver.StartChild(t)
	b := &bundle{js: server.JetStream(t)}
	b.streams(t)
	got := newTally()
	cfg := quick()
	cfg.Logger = slog.New(slog.DiscardHandler)
	start(t, server.JetStream(t), cfg, consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		if got.add(e.ID) == 1 && e.ID[len(e.ID)-1] == '7' {
			return errors.New("fails the first time")
		}
		return nil
	}))
	const n, kills = 10_000, 5
	for i := range n {
		if err := acked(t.Context(), t, b.js, strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
		if i%(n/kills) == n/kills-1 {
			server.Kill()
			server.Restart(t)
		}
	}
	eventually(t, func() error {
		if d := got.distinct(); d != n {
			return fmt.Errorf("%d of %d events handled", d, n)
		}
		return errors.Join(b.idle(t, "EVENTS"), b.idle(t, "RETRY_billing"))
	})
	if d := b.dead(t); len(d) != 0 {
		t.Errorf("%d dead letters", len(d))
	}
	if s, err := b.js.Stream(t.Context(), "EVENTS"); err != nil || s.CachedInfo().State.Msgs != n {
		t.Errorf("EVENTS holds %d events, %v; want each of %d once", s.CachedInfo().State.Msgs, err, n)
	}
	again := 0
	for id, runs := range got.runs {
		want := 1
		if id[len(id)-1] == '7' {
			want = 2
		}
		again += runs - want
	}
	t.Logf("%d events, %d kills, %d runs more than needed", n, kills, again)
}

func TestRedeliveryWhileTheRetryWaits(t *testing.T) {
	t.Parallel()
	// The acknowledgement of the original is lost on the way: the server
	// delivers it again although its retry stands in the lane.
	server := testserver.Start(t, testserver.Listen())
	b := &bundle{js: server.JetStream(t)}
	b.streams(t)
	b.place(t, 1)
	proxy := testserver.StartProxy(t, server.URL())
	lost := proxy.Inject(testserver.Fault{Match: testserver.Published("$JS.ACK.EVENTS.>"), Nth: 1})
	got := newTally()
	cfg := quick()
	cfg.AckWait, cfg.FirstDelay = time.Second, 4*time.Second
	start(t, proxy.JetStream(t), cfg, consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		got.add(e.ID)
		if e.Delivery.Attempt == 1 {
			return errors.New("again")
		}
		return nil
	}))
	eventually(t, func() error { return errors.Join(got.each(1, 2), b.idle(t, "RETRY_billing")) })
	if err := errors.Join(b.idle(t, "EVENTS"), got.each(1, 2)); err != nil || lost.Hits() != 1 {
		t.Errorf("%v; %d acknowledgements lost", err, lost.Hits())
	}
}

func TestDeadLetterIsStoredBeforeTheOriginalEnds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 1)
	dead, err := b.js.Stream(t.Context(), "DEAD")
	if err != nil {
		t.Fatal(err)
	}
	full := dead.CachedInfo().Config
	full.MaxMsgSize = 1 // refuses every dead letter
	if _, err := b.js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	got := newTally()
	c, _ := start(t, b.js, quick(), consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		got.add(e.ID)
		return consume.DeadLetter(errors.New("hopeless"))
	}))
	eventually(t, func() error {
		if s := c.Status().Subscriptions[0]; s.Failed != 1 || s.LastError == "" || s.Dead != 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if b.idle(t, "EVENTS") == nil {
		t.Error("the original is gone, and there is no dead letter")
	}
	full.MaxMsgSize = -1
	if _, err := b.js.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if n := len(b.dead(t)); n != 1 {
			return fmt.Errorf("%d dead letters", n)
		}
		return b.idle(t, "EVENTS")
	})
	if err := got.each(1, 1); err != nil {
		t.Errorf("waiting for the store cost runs: %v", err)
	}
}
