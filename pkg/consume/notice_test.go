package consume_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// TestNotices tells the hook of an event that was given up, of a pause and its
// end, and of a durable that was made again.
func TestNotices(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 1)
	var mu sync.Mutex
	var seen []consume.Notice
	cfg := quick()
	cfg.OnNotice = func(n consume.Notice) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, n)
	}
	start(t, b.js, cfg, consume.On(func(context.Context, envelope.Event[orderPlaced]) error {
		return consume.DeadLetter(errors.New("no such order"))
	}))
	awaitNotice := func(kind consume.NoticeKind) (found consume.Notice) {
		t.Helper()
		eventually(t, func() error {
			mu.Lock()
			defer mu.Unlock()
			for _, n := range seen {
				if n.Kind == kind {
					found = n
					return nil
				}
			}
			return fmt.Errorf("noticed %+v", seen)
		})
		if found.Durable != durableName || found.Time.IsZero() || found.Subscription == "" {
			t.Errorf("%+v", found)
		}
		return found
	}
	if n := awaitNotice(consume.NoticeDeadLettered); n.EventID != "0" || n.EventType != "shop.order.placed.v1" || n.EventKey != "o-0" || n.Err == nil || n.Reason == "" {
		t.Errorf("%+v", n)
	}
	if _, err := b.js.PauseConsumer(t.Context(), "EVENTS", durableName, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	awaitNotice(consume.NoticePaused)
	if err := b.js.DeleteConsumer(t.Context(), "EVENTS", durableName); err != nil {
		t.Fatal(err)
	}
	awaitNotice(consume.NoticeHealed)
	awaitNotice(consume.NoticeResumed)
}
