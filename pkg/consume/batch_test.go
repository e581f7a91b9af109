package consume_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

func TestBatches(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 1000)
	bad := message(t, "bad", orderPlaced{OrderID: "bad"})
	bad.Data = []byte(`{"order_id":7}`)
	if _, err := b.js.PublishMsg(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	cfg := quick()
	// Two batches fail as a whole, and retries of the one may be in the other: a
	// third attempt is what only the event that fails by itself uses up.
	cfg.MaxAttempts, cfg.Concurrency = 3, 3
	got := newTally()
	var full, panics atomic.Int32
	c, _ := start(t, b.js, cfg, consume.OnBatch(func(_ context.Context, es []envelope.Event[orderPlaced]) []error {
		if len(es) > 50 {
			t.Errorf("batch of %d", len(es))
		}
		if len(es) == 50 {
			full.Add(1)
		}
		errs := make([]error, len(es))
		fine := true
		for i, e := range es {
			run := got.add(e.ID)
			switch e.ID {
			case "5": // fails always
				errs[i], fine = errors.New("no"), false
			case "500":
				if run == 1 {
					panics.Add(1)
					panic("the batch of 500")
				}
			case "900":
				if run == 1 {
					goexit()
				}
			}
		}
		if fine {
			return nil
		}
		return errs
	}, 50, 200*time.Millisecond))
	eventually(t, func() error {
		s := c.Status().Subscriptions[0]
		if s.Handled != 999 || s.Dead != 2 || s.Running != 0 {
			return fmt.Errorf("%+v", s)
		}
		return errors.Join(b.idle(t, "EVENTS"), b.idle(t, "RETRY_billing"))
	})
	if full.Load() < 10 || panics.Load() != 1 {
		t.Errorf("%d full batches, %d panics", full.Load(), panics.Load())
	}
	if got.runs["5"] != 3 || got.runs["bad"] != 0 {
		t.Errorf("runs %d of 5, %d of bad", got.runs["5"], got.runs["bad"])
	}
}

func TestBatchThatHangs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 10)
	cfg := quick()
	cfg.AckWait, cfg.HandlerTimeout, cfg.Concurrency = time.Second, 50*time.Millisecond, 1
	release := make(chan struct{})
	var hung atomic.Bool
	c, _ := start(t, b.js, cfg, consume.OnBatch(func(_ context.Context, es []envelope.Event[orderPlaced]) []error {
		if hung.CompareAndSwap(false, true) {
			<-release
		}
		return make([]error, len(es))
	}, 10, 10*time.Millisecond))
	eventually(t, func() error {
		if s := c.Status().Subscriptions[0]; s.Handled != 10 || s.Hung > 1 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	close(release)
	eventually(t, func() error {
		if s := c.Status().Subscriptions[0]; s.Hung != 0 || s.Late == 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

func TestBatchConfig(t *testing.T) {
	t.Parallel()
	b := setup(t)
	h := func(context.Context, []envelope.Event[orderPlaced]) []error { return nil }
	for _, s := range []consume.Subscription{
		consume.OnBatch[orderPlaced](nil, 1, 0), consume.OnBatch(h, 0, 0), consume.OnBatch(h, 1, -1), consume.OnBatch(h, 1<<20, 0),
	} {
		if _, err := consume.New(b.js, quick(), s); !errors.Is(err, consume.ErrConfig) {
			t.Errorf("New = %v", err)
		}
	}
}
