package consume_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

func counting(c *tally, opts ...consume.Option) consume.Subscription {
	return consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		c.add(e.ID)
		return nil
	}, opts...)
}

// saved waits until the group's position has reached a floor.
func (b *bundle) saved(t *testing.T, floor uint64) {
	t.Helper()
	eventually(t, func() error {
		kv, err := b.js.KeyValue(t.Context(), "AGNER_POSITIONS")
		if err != nil {
			return err
		}
		e, err := kv.Get(t.Context(), durableName)
		if err != nil {
			return err
		}
		if want := fmt.Sprintf(`"floor":%d,`, floor); !strings.Contains(string(e.Value()), want) {
			return fmt.Errorf("position %s", e.Value())
		}
		return nil
	})
}

func TestDurableDeletedWhileConnected(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 100)
	got := newTally()
	c, _ := start(t, b.js, quick(), counting(got))
	eventually(t, func() error { return got.each(100, 1) })
	b.saved(t, 100)
	b.place2(t, 100, 110)
	eventually(t, func() error { return got.each(110, 1) })
	began := time.Now()
	if err := b.js.DeleteConsumer(t.Context(), "EVENTS", durableName); err != nil {
		t.Fatal(err)
	}
	b.place2(t, 110, 120)
	eventually(t, func() error {
		if n := got.distinct(); n != 120 {
			return fmt.Errorf("%d events", n)
		}
		return b.idle(t, "EVENTS")
	})
	t.Logf("healed after %s", time.Since(began))
	for id, runs := range got.runs {
		// Ten events lay between the saved floor and the deletion.
		if runs > 1 && (len(id) != 3 || id < "100" || id > "119") {
			t.Errorf("event %s ran %d times", id, runs)
		}
	}
	if s := c.Status().Subscriptions[0]; s.Healed != 1 || s.Repeated > 20 {
		t.Errorf("%+v", s)
	}
}

func TestDurableDeletedWhileDisconnected(t *testing.T) {
	t.Parallel()
	server := testserver.Start(t, testserver.Listen())
	b := &bundle{js: server.JetStream(t)}
	b.streams(t)
	b.place(t, 50)
	proxy := testserver.StartProxy(t, server.URL())
	got := newTally()
	c, _ := start(t, proxy.JetStream(t, nats.ReconnectWait(50*time.Millisecond)), quick(), counting(got))
	eventually(t, func() error { return got.each(50, 1) })
	b.saved(t, 50)
	proxy.Refuse(true)
	proxy.Cut()
	if err := b.js.DeleteConsumer(t.Context(), "EVENTS", durableName); err != nil {
		t.Fatal(err)
	}
	b.place2(t, 50, 80)
	began := time.Now()
	proxy.Refuse(false)
	eventually(t, func() error { return got.each(80, 1) })
	t.Logf("healed after %s", time.Since(began))
	eventually(t, func() error {
		if s := c.Status().Subscriptions[0]; s.Healed != 1 || s.State != consume.StateRunning {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

func TestStreamMadeAnew(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 50)
	got := newTally()
	cfg := quick()
	cfg.Start = consume.FromNow() // must not skip what the new stream holds
	first := newTally()
	start(t, b.js, func() consume.Config { c := quick(); c.Group = "other"; return c }(), counting(first))
	_, stop := start(t, b.js, cfg, counting(got))
	eventually(t, func() error { return first.each(50, 1) })
	b.place2(t, 50, 60)
	eventually(t, func() error {
		if n := got.distinct(); n != 10 {
			return fmt.Errorf("%d events", n)
		}
		return nil
	})
	b.saved(t, 60)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := b.js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	b.streams(t)
	b.place2(t, 100, 130) // sequences 1 to 30: below the saved floor
	start(t, b.js, cfg, counting(got))
	eventually(t, func() error {
		if n := got.distinct(); n != 40 {
			return fmt.Errorf("%d events", n)
		}
		if n := first.distinct(); n != 90 {
			return fmt.Errorf("%d events at the group that ran on", n)
		}
		return b.idle(t, "EVENTS")
	})
	t.Logf("healed %s after the stream was gone", time.Since(began))
}

func TestHandlersOutliveTheirDurable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 1)
	release := make(chan struct{})
	got := newTally()
	c, _ := start(t, b.js, quick(), consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		if got.add(e.ID) == 1 && e.ID == "0" {
			<-release
		}
		return nil
	}))
	eventually(t, func() error { return got.each(1, 1) })
	if err := b.js.DeleteConsumer(t.Context(), "EVENTS", durableName); err != nil {
		t.Fatal(err)
	}
	// It is made again although a handler of the lost one still runs; that
	// one's event comes again, since nobody settled it.
	eventually(t, func() error { return got.each(1, 2) })
	close(release)
	eventually(t, func() error {
		if s := c.Status().Subscriptions[0]; s.Running != 0 || s.Buffered != 0 {
			return fmt.Errorf("%+v", s)
		}
		return b.idle(t, "EVENTS")
	})
}

const conf = `
accounts { A { jetstream: enabled, users: [
  { user: admin, password: x }
  { user: mute, password: x, permissions: { publish: { deny: ["$JS.ACK.EVENTS.>"] } } }
  { user: deaf, password: x, permissions: { publish: { deny: ["$JS.API.CONSUMER.MSG.NEXT.EVENTS.>"] } } }
] } }`

func TestMissingPermissionIsNamed(t *testing.T) {
	t.Parallel()
	server := testserver.Start(t, testserver.Conf(conf), testserver.Client(nats.UserInfo("admin", "x")))
	b := &bundle{js: server.JetStream(t)}
	b.streams(t)
	b.place(t, 1)
	for user, subj := range map[string]string{"mute": "$JS.ACK.EVENTS." + durableName, "deaf": "$JS.API.CONSUMER.MSG.NEXT.EVENTS." + durableName} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			c, err := consume.New(server.JetStream(t, nats.UserInfo(user, "x")), quick(), counting(newTally()))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			done := make(chan error, 1)
			began := time.Now()
			go func() { done <- c.Run(ctx) }()
			eventually(t, func() error {
				if e := c.Status().Subscriptions[0].LastError; !strings.Contains(e, subj) {
					return fmt.Errorf("last error %q does not name %s", e, subj)
				}
				return nil
			})
			t.Logf("named after %s", time.Since(began))
			cancel()
			if err := <-done; err != nil && !errors.Is(err, nats.ErrPermissionViolation) {
				t.Error(err)
			}
		})
	}
}

func TestPauseIsSeen(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	got := newTally()
	c, _ := start(t, b.js, quick(), counting(got))
	eventually(t, func() error { return b.idle(t, "EVENTS") })
	if _, err := b.js.PauseConsumer(t.Context(), "EVENTS", durableName, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	b.place(t, 5)
	eventually(t, func() error {
		if s := c.Status().Subscriptions[0]; s.State != consume.StatePaused || s.Pending != 5 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if _, err := b.js.ResumeConsumer(t.Context(), "EVENTS", durableName); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return got.each(5, 1) })
}

func TestRemovedUnreadIsReported(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	cfg := quick()
	got := newTally()
	c, _ := start(t, b.js, cfg, counting(got))
	eventually(t, func() error { return b.idle(t, "EVENTS") })
	if _, err := b.js.PauseConsumer(t.Context(), "EVENTS", durableName, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	b.place(t, 30)
	eventually(t, func() error {
		if s := c.Status().Subscriptions[0]; s.Pending != 30 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	str, err := b.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	events := str.CachedInfo().Config
	events.MaxMsgs = 10
	if _, err := b.js.UpdateStream(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if _, err := b.js.ResumeConsumer(t.Context(), "EVENTS", durableName); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if s := c.Status().Subscriptions[0]; s.Removed != 20 || s.Handled != 10 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}
