package consume_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

// Each firing of a cron is an event of its own, and stays the same one in its
// retries and as a dead letter.
func TestFiringsAreEventsOfTheirOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	pub, err := publish.New(b.js, publish.Config{Source: "/test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pub.Close(context.Background()) }()
	if _, err := pub.Publish(t.Context(), orderPlaced{OrderID: "o-1"}, publish.Cron("* * * * * *", ""), publish.WithScheduleID("tick")); err != nil {
		t.Fatal(err)
	}
	cfg := quick()
	cfg.MaxAttempts = 2
	got := newTally()
	start(t, b.js, cfg, consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		got.add(e.ID)
		return errors.New("always")
	}))
	eventually(t, func() error {
		if n := len(b.dead(t)); n < 2 {
			return fmt.Errorf("%d dead letters", n)
		}
		return nil
	})
	if err := pub.CancelSchedule(t.Context(), "tick"); err != nil {
		t.Error(err)
	}
	seen := map[string]bool{}
	for _, m := range b.dead(t) {
		id := m.Header.Get("ce-id")
		if !strings.HasPrefix(id, "tick.20") || seen[id] || got.of(id) != 2 {
			t.Errorf("dead letter of event %q, which ran %d times", id, got.of(id))
		}
		seen[id] = true
	}
}
