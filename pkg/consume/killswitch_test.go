package consume_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

func TestKillSwitch(t *testing.T) { //nolint:paralleltest // bubbles must not overlap
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
		t.Helper()
		b := &bundle{js: s.JetStream(t)}
		b.streams(t)
		b.place(t, 1000)
		var mended atomic.Bool
		var runs atomic.Int64
		cfg := quick()
		cfg.AckWait, cfg.FirstDelay, cfg.MaxAttempts = 30*time.Second, time.Second, 100
		cfg.KillSwitch = consume.KillSwitch{Threshold: 0.9, Runs: 20, Pause: 20 * time.Second}
		sub := consume.On(func(context.Context, envelope.Event[orderPlaced]) error {
			runs.Add(1)
			if mended.Load() {
				return nil
			}
			<-time.After(10 * time.Millisecond)
			return errors.New("the database is down")
		})
		c1, stop1 := start(t, b.js, cfg, sub)
		c2, stop2 := start(t, s.JetStream(t), cfg, sub)
		both := func() (s consume.SubscriptionStatus) {
			for _, c := range []*consume.Consumer{c1, c2} {
				one := c.Status().Subscriptions[0]
				s.Tripped += one.Tripped
				s.Handled += one.Handled
				s.Dead += one.Dead
				if one.State == consume.StatePaused {
					s.Hung++ // counts the paused
				}
			}
			return s
		}
		testserver.Eventually(t, 15*time.Second, func() error {
			if s := both(); s.Tripped == 0 || s.Hung != 2 {
				return fmt.Errorf("%+v", s)
			}
			return nil
		}, "not paused at both instances")
		atPause := runs.Load()
		if atPause > 200 {
			t.Errorf("%d runs before the pause", atPause)
		}
		<-time.After(10 * time.Second)
		if n := runs.Load(); n != atPause {
			t.Errorf("%d runs while paused", n-atPause)
		}
		<-time.After(60 * time.Second) // pauses of 20 s and 40 s: some single trials
		if n := runs.Load() - atPause; n < 1 || n > 12 {
			t.Errorf("%d runs as trials", n)
		}
		mended.Store(true)
		testserver.Eventually(t, 10*time.Minute, func() error {
			if s := both(); s.Handled != 1000 || s.Dead != 0 {
				return fmt.Errorf("%+v", s)
			}
			return nil
		}, "the backlog is not handled")
		if err := errors.Join(stop1(), stop2()); err != nil {
			t.Error(err)
		}
	})
}
