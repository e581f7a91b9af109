package inbox_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/inbox"
)

// TestStorm starts ten instances at once: each gets its fair share, and hardly a
// partition is claimed twice on the way.
func TestStorm(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t)
	cfg := inbox.Config{Name: "carts", LeaseTTL: 3 * time.Second, Logger: slog.New(slog.DiscardHandler)}
	var mu sync.Mutex
	var all []*inbox.Inbox
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			in, _ := start(t, s.JetStream(t), cfg, adding())
			mu.Lock()
			defer mu.Unlock()
			all = append(all, in)
		})
	}
	wg.Wait()
	eventually(t, func() error {
		total := 0
		for _, in := range all {
			n := len(in.Owned())
			if n < 6 || n > 7 {
				return fmt.Errorf("%s owns %d of 64 partitions", in.Instance(), n)
			}
			total += n
		}
		if total != 64 {
			return fmt.Errorf("%d partitions are owned", total)
		}
		return nil
	})
	var claims int64
	for _, in := range all {
		claims += in.Status().Claimed
	}
	if claims > 64+16 {
		t.Errorf("%d claims for 64 partitions", claims)
	}
	t.Logf("%d claims", claims)
}

// TestHandOver has the owner leave while its entities are asked: all are answered,
// and by a goodbye, for the lease outlives the test. How long an answer takes
// meanwhile is logged only: on a busy machine that says more of the machine than of
// the inbox. `make inbox-handover` holds it to its bound.
func TestHandOver(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t)
	cfg := quick()
	cfg.LeaseTTL = 10 * wait
	a, stopA := start(t, s.JetStream(t), cfg, counting())
	eventually(t, owns(a, 8))
	b, _ := start(t, s.JetStream(t), cfg, counting())
	eventually(t, owns(b, 4))
	eventually(t, owns(a, 4))
	to := client(t, s.JetStream(t))
	// One entity of each partition is asked again and again.
	var mu sync.Mutex
	worst := time.Duration(0)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for k := range 16 {
		wg.Go(func() {
			for !stop.Load() {
				began := time.Now()
				if _, err := inbox.Ask[int](t.Context(), to, fmt.Sprintf("k%d", k), getCart{}); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				worst = max(worst, time.Since(began))
				mu.Unlock()
			}
		})
	}
	if err := stopA(); err != nil {
		t.Error(err)
	}
	eventually(t, owns(b, 8))
	stop.Store(true)
	wg.Wait()
	t.Logf("longest wait for an answer: %s", worst)
}

func counting() inbox.Handler {
	return inbox.Answer(func(_ context.Context, tx *inbox.Tx[cart], _ getCart) (int, error) {
		tx.State.Items++
		return tx.State.Items, nil
	})
}
