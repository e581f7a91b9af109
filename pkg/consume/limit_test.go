package consume_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// limitLog is a slog.Handler that remembers the errors that were logged.
type limitLog struct {
	mu   sync.Mutex
	errs []error
}

func (l *limitLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *limitLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *limitLog) WithGroup(string) slog.Handler            { return l }

func (l *limitLog) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			l.errs = append(l.errs, err)
		}
		return true
	})
	return nil
}

// has reports an error unless one was logged that matches.
func (l *limitLog) has(target error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, err := range l.errs {
		if errors.Is(err, target) {
			return nil
		}
	}
	return fmt.Errorf("none of %d errors matches %w", len(l.errs), target)
}

// limit changes a stream.
func (b *bundle) limit(t *testing.T, name string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	s, err := b.js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	change(&c)
	if _, err := b.js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// The stream that a failed event should go to is full: the error is typed and
// told, the original stays pending, the healthy go on, and once there is room
// each failed event gets where it belongs.
func TestStoreOfFailedEventsIsFull(t *testing.T) {
	t.Parallel()
	for name, attempts := range map[string]int{"DEAD": 1, "RETRY_billing": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.streams(t)
			p := &stream.Provisioner{JS: b.js, Logger: slog.New(slog.DiscardHandler)}
			if err := p.Ensure(t.Context(), stream.Retry("", "billing")); err != nil {
				t.Fatal(err)
			}
			full := func(c *jetstream.StreamConfig) { c.MaxBytes, c.Discard = 1, jetstream.DiscardNew }
			if name != "DEAD" {
				// Discarding new messages is not allowed beside schedules, so
				// the lane is full by its message size.
				full = func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 }
			}
			b.limit(t, name, full)
			b.place(t, 20)
			var log limitLog
			cfg := quick()
			cfg.MaxAttempts, cfg.Logger = attempts, slog.New(&log)
			got := newTally()
			c, _ := start(t, b.js, cfg, consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
				got.add(e.ID)
				if n, _ := strconv.Atoi(e.ID); n%2 == 1 {
					return errors.New("always")
				}
				return nil
			}))
			eventually(t, func() error {
				s := c.Status().Subscriptions[0]
				if got.distinct() != 20 || s.Handled != 10 || s.Dead != 0 || s.Retried != 0 || s.LastError == "" {
					return fmt.Errorf("%+v", s)
				}
				if name == "DEAD" {
					return log.has(consume.ErrFull)
				}
				return nil
			})
			eventually(t, func() error {
				d, err := b.js.Consumer(t.Context(), "EVENTS", durableName)
				if err == nil && d.CachedInfo().NumAckPending != 10 {
					err = fmt.Errorf("%d are pending", d.CachedInfo().NumAckPending)
				}
				return err
			})
			b.limit(t, name, func(c *jetstream.StreamConfig) { c.MaxBytes, c.MaxMsgSize, c.Discard = -1, -1, jetstream.DiscardOld })
			eventually(t, func() error {
				if n := len(b.dead(t)); n != 10 {
					return fmt.Errorf("%d dead letters", n)
				}
				return errors.Join(b.idle(t, "EVENTS"), b.idle(t, "RETRY_billing"))
			})
			for i := range 20 {
				want := 1
				if i%2 == 1 {
					want = attempts
				}
				if n := got.of(strconv.Itoa(i)); n != want {
					t.Errorf("event %d ran %d times, want %d", i, n, want)
				}
			}
		})
	}
}

// The bucket of positions is full: that is told, and events are handled.
func TestPositionsBucketIsFull(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	p := &stream.Provisioner{JS: b.js, Logger: slog.New(slog.DiscardHandler)}
	if _, err := p.Bucket(t.Context(), stream.Positions("")); err != nil {
		t.Fatal(err)
	}
	var log limitLog
	cfg := quick()
	cfg.Logger = slog.New(&log)
	got := newTally()
	c, _ := start(t, b.js, cfg, counting(got))
	eventually(t, func() error { return b.idle(t, "EVENTS") })
	b.limit(t, "KV_AGNER_POSITIONS", func(c *jetstream.StreamConfig) { c.MaxBytes = 1 })
	b.place(t, 20)
	eventually(t, func() error {
		if s := c.Status().Subscriptions[0]; s.State != consume.StateRunning {
			return fmt.Errorf("%+v", s)
		}
		return errors.Join(got.each(20, 1), log.has(consume.ErrFull))
	})
	b.limit(t, "KV_AGNER_POSITIONS", func(c *jetstream.StreamConfig) { c.MaxBytes = -1 })
	b.saved(t, 20)
}

// An account that allows no more consumers, or streams: Run says so at once.
func TestAccountLimits(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]string{"consumers": "max_consumers: 1", "streams": "max_streams: 2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := testserver.Start(t, testserver.Conf(`accounts { A { jetstream: {`+limits+`}, users: [{user: u, password: p}] } }`),
				testserver.Client(nats.UserInfo("u", "p")))
			c, err := consume.New(srv.JetStream(t), quick(), counting(newTally()), counting(newTally(), consume.WithName("another")))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			if err := c.Run(ctx); !errors.Is(err, consume.ErrFull) || ctx.Err() != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

// A full disk while events fail: nothing can be stored, nothing is lost. After a
// restart with room each event has its runs and its dead letter. Where the
// machine allows no mount no disk is filled: full streams are tested above.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	disk, err := testserver.SmallDisk(t, 12<<20)
	if err != nil {
		t.Logf("NOT TESTED on this machine, a full disk: %v", err)
		return
	}
	srv := testserver.StartChild(t, testserver.StoreDir(disk.Dir),
		testserver.Conf("jetstream { max_file_store: 1G }"))
	b := &bundle{js: srv.JetStream(t)}
	b.streams(t)
	const events = 16
	padding := strings.Repeat("x", 400<<10)
	for i := range events {
		id := strconv.Itoa(i)
		m := message(t, id, orderPlaced{OrderID: "o-" + id})
		m.Data = []byte(`{"order_id":"o-` + id + `","note":"` + padding + `"}`)
		if _, err := b.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	cfg := quick()
	cfg.MaxAttempts = 2
	got := newTally()
	c, _ := start(t, b.js, cfg, consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		got.add(e.ID)
		return errors.New("always")
	}))
	eventually(t, func() error {
		if s := c.Status().Subscriptions[0]; got.distinct() != events || !strings.Contains(s.LastError, "store ") {
			return fmt.Errorf("%d events ran: %s", got.distinct(), s.LastError)
		}
		return nil
	})
	t.Logf("while it is full: %s", c.Status().Subscriptions[0].LastError)
	disk.Grow(t, 128<<20)
	srv.Restart(t)
	testserver.Eventually(t, 60*time.Second, func() error {
		dead := map[string]bool{}
		for _, m := range b.dead(t) {
			dead[m.Header.Get("ce-id")] = true
		}
		if len(dead) != events {
			return fmt.Errorf("%d of %d are dead letters: %+v", len(dead), events, c.Status().Subscriptions[0])
		}
		return errors.Join(b.idle(t, "EVENTS"), b.idle(t, "RETRY_billing"))
	}, "not settled after there is room")
}
