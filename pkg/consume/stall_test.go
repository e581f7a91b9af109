package consume_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// A failing event never stands in the way: many that fail always, with long
// delays, beside healthy ones. The plain form is small; AGNER_STALL=long makes
// it 10,000 beside 100,000 with delays up to a minute.
func TestFailingEventsDoNotStallHealthyOnes(t *testing.T) {
	t.Parallel()
	healthy, failing, first := 2000, 200, 500*time.Millisecond
	if os.Getenv("AGNER_STALL") == "long" {
		healthy, failing, first = 100_000, 10_000, 15*time.Second
	}
	alone := stallRun(t, healthy, 0, first)
	beside := stallRun(t, healthy, failing, first)
	ratio := alone.Seconds() / beside.Seconds()
	t.Logf("%d healthy events: alone %s, beside %d failing ones %s: ratio of rates %.2f", healthy, alone, failing, beside, ratio)
	if os.Getenv("AGNER_STALL") == "long" && ratio < 0.9 {
		t.Errorf("healthy events kept %.2f of their rate", ratio)
	}
}

// stallRun returns how long the healthy events took, once all is settled and
// checked.
func stallRun(t *testing.T, healthy, failing int, first time.Duration) time.Duration {
	t.Helper()
	const attempts = 4
	b := &bundle{js: testserver.StartChild(t).JetStream(t)}
	b.streams(t)
	every := 0
	if failing > 0 {
		every = healthy / failing
	}
	for i := range healthy {
		b.storeAsync(t, "h"+strconv.Itoa(i))
		if every > 0 && i%every == 0 {
			b.storeAsync(t, "f"+strconv.Itoa(i/every))
		}
	}
	<-b.js.PublishAsyncComplete()
	got := newTally()
	var done atomic.Int64
	all := make(chan struct{})
	cfg := quick()
	cfg.AckWait, cfg.Concurrency, cfg.MaxAttempts = 30*time.Second, 32, attempts
	cfg.FirstDelay, cfg.MaxDelay = first, 4*first
	sub := consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		got.add(e.ID)
		<-time.After(2 * time.Millisecond)
		if strings.HasPrefix(e.ID, "f") {
			return errors.New("always")
		}
		if done.Add(1) == int64(healthy) {
			close(all)
		}
		return nil
	})
	began := time.Now()
	start(t, b.js, cfg, sub)
	_, stop := start(t, b.js, cfg, sub)
	<-all
	took := time.Since(began)
	// An instance that stops and one that comes cost no attempt.
	if err := stop(); err != nil {
		t.Error(err)
	}
	start(t, b.js, cfg, sub)
	testserver.Eventually(t, 10*time.Minute, func() error {
		dead, err := b.js.Stream(t.Context(), "DEAD")
		if err != nil {
			return err
		}
		if n := int(dead.CachedInfo().State.Msgs); n != failing {
			return fmt.Errorf("%d dead letters", n)
		}
		return errors.Join(b.idle(t, "EVENTS"), b.idle(t, "RETRY_billing"))
	}, "not settled")
	got.mu.Lock()
	defer got.mu.Unlock()
	for id, runs := range got.runs {
		want := 1
		if strings.HasPrefix(id, "f") {
			want = attempts
		}
		if runs != want {
			t.Errorf("event %s ran %d times, want %d", id, runs, want)
		}
	}
	if len(got.runs) != healthy+failing {
		t.Errorf("%d events ran of %d", len(got.runs), healthy+failing)
	}
	return took
}

func (b *bundle) storeAsync(t *testing.T, id string) {
	t.Helper()
	for {
		_, err := b.js.PublishMsgAsync(message(t, id, orderPlaced{OrderID: "o-" + id}))
		if err == nil {
			return
		}
		select { // too many are out: wait for those
		case <-b.js.PublishAsyncComplete():
		case <-t.Context().Done():
			t.Fatal(err)
		}
	}
}
