package consume_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/agner-go/agner/pkg/consume"
)

// A new group begins where it says, for each subscription; where it stands
// already its configuration has no say.
func TestStart(t *testing.T) { //nolint:tparallel // each group's extra event would be another one's
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.place(t, 50)
	at := time.Now()
	b.place2(t, 50, 60)
	for name, tc := range map[string]struct {
		start consume.Start
		first int
	}{
		"oldest":   {consume.FromOldest(), 0},
		"zero":     {consume.Start{}, 0},
		"sequence": {consume.FromSequence(41), 40},
		"time":     {consume.FromTime(at), 50},
		"future":   {consume.FromTime(time.Now().Add(time.Hour)), 60},
		"now":      {consume.FromNow(), 60},
	} {
		t.Run(name, func(t *testing.T) {
			got := newTally()
			cfg := quick()
			cfg.Group = "starts-" + name
			cfg.Start = consume.FromOldest()
			sub := func(s consume.Start) consume.Subscription {
				return counting(got, consume.WithStart(s))
			}
			_, stop := start(t, b.js, cfg, sub(tc.start))
			eventually(t, func() error {
				_, err := b.js.Consumer(t.Context(), "EVENTS", "starts-"+name+"_"+subscriptionName)
				return err
			})
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			extra := message(t, "after-"+name, orderPlaced{OrderID: "o-" + name})
			if _, err := b.js.PublishMsg(t.Context(), extra); err != nil {
				t.Fatal(err)
			}
			start(t, b.js, cfg, sub(consume.FromSequence(1))) // too late: it stands
			want := map[string]bool{"after-" + name: true}
			for i := tc.first; i < 60; i++ {
				want[strconv.Itoa(i)] = true
			}
			eventually(t, func() error {
				got.mu.Lock()
				defer got.mu.Unlock()
				for id := range want {
					if got.runs[id] != 1 {
						return fmt.Errorf("event %s ran %d times", id, got.runs[id])
					}
				}
				return nil
			})
			for i := range tc.first {
				if got.of(strconv.Itoa(i)) != 0 {
					t.Errorf("event %d, of before the start, ran", i)
				}
			}
		})
	}
}
