package deadletter_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/deadletter"
)

// Of one key the oldest event goes first, in whatever order they died.
func TestReplayKeepsTheOrderOfAKey(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	subscribe(t, js, "", "billing", nil)
	const n = 300
	bury(t, js, n, func(i int) corpse {
		// They died the other way round.
		return corpse{group: "billing", typ: orderType, key: fmt.Sprint("o-", i%3), reason: "exhausted", seq: n - i}
	})
	var lane jetstream.Stream
	testserver.Eventually(t, wait, func() (err error) {
		lane, err = js.Stream(t.Context(), "RETRY_billing")
		return err
	}, "the group makes its lane")
	// A subscription that nobody runs: what is replayed stays to be looked at.
	if _, err := lane.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: "billing_orders", AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "retry.billing.due.orders.*",
	}); err != nil {
		t.Fatal(err)
	}
	for r, err := range client(t, js, "").Replay(t.Context(), deadletter.Filter{}) {
		if err != nil || r.Skipped != nil {
			t.Fatal(err, r.Skipped)
		}
	}
	last := map[string]uint64{}
	for seq := uint64(1); seq <= n; seq++ {
		m, err := lane.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		var origin uint64
		if err := json.Unmarshal([]byte(m.Header.Get("Agner-Retry-Sequence")), &origin); err != nil || origin <= last[m.Subject] {
			t.Fatalf("%s: event %d comes after %d (%v)", m.Subject, origin, last[m.Subject], err)
		}
		last[m.Subject] = origin
	}
	letters(t, js, "", 0)
}

func TestPlanSaysWhatReplayDoes(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	billing := subscribe(t, js, "", "billing", errors.New("broken"))
	place(t, js, "", "e-1", []byte(`{}`))
	place(t, js, "", "e-2", []byte(`{}`))
	l := letters(t, js, "", 2)[0]
	store := func(change func(m *nats.Msg)) {
		m := message(l)
		change(m)
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	store(func(m *nats.Msg) { m.Header.Set(consume.HeaderDeadGroup, "nobody") })
	store(func(m *nats.Msg) { m.Header.Set(consume.HeaderDeadSubscription, "gone") })
	store(func(m *nats.Msg) { m.Header.Del(consume.HeaderDeadReason) })
	store(func(m *nats.Msg) {
		m.Header.Set(consume.HeaderDeadOmitted, "body")
		m.Header.Set(consume.HeaderDeadSequence, "77")
	})
	store(func(m *nats.Msg) { m.Header.Set(consume.HeaderDeadRedacted, "body") })

	c := client(t, js, "")
	plan, err := c.Plan(t.Context(), deadletter.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Eligible != 3 || plan.Skipped != 4 || plan.Last != 7 || len(plan.Lines) != 5 {
		t.Errorf("plan is %+v", plan)
	}
	if line := plan.Lines[0]; line.Letters != 3 || line.FromEvents != 1 || line.Why != "" {
		t.Errorf("first line is %+v", line)
	}
	billing.repair()
	var skipped []error
	done := 0
	for r, err := range c.Replay(t.Context(), deadletter.Filter{Through: plan.Last}) {
		switch {
		case err != nil:
			t.Fatal(err)
		case r.Skipped != nil:
			skipped = append(skipped, r.Skipped)
		default:
			done++
		}
	}
	if done != plan.Eligible || len(skipped) != plan.Skipped {
		t.Errorf("%d replayed, skipped %v, planned %+v", done, skipped, plan)
	}
	for _, line := range plan.Lines[1:] {
		if !slices.ContainsFunc(skipped, func(err error) bool { return errors.Is(err, errors.Unwrap(line.Skip)) || err.Error() == line.Why }) {
			t.Errorf("planned to skip for %q, skipped for %v", line.Why, skipped)
		}
	}
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	bury(t, js, 400, mixed)
	var acts []deadletter.Act
	refuse := true
	c, err := deadletter.New(js, deadletter.Config{Record: func(_ context.Context, a deadletter.Act) error {
		acts = append(acts, a)
		if refuse {
			return errors.New("the log is full")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	f := deadletter.Filter{Group: "billing"}
	for _, err := range c.Discard(t.Context(), f) {
		if err == nil || !strings.Contains(err.Error(), "nothing was done") {
			t.Errorf("without a record: %v", err)
		}
	}
	letters(t, js, "", 400)
	refuse = false
	n := 0
	for r, err := range c.Discard(t.Context(), f) {
		if err != nil || r.Skipped != nil || r.Letter.Group != "billing" {
			t.Fatalf("%+v, %v", r, err)
		}
		n++
	}
	if left := letters(t, js, "", 200); n != 200 || left[0].Group != "notify" {
		t.Errorf("%d discarded", n)
	}
	if last := acts[len(acts)-1]; len(acts) != 3 || !last.Over || last.Done != 200 || last.Verb != "discard" || len(last.First) != 100 {
		t.Errorf("recorded %d acts, the last is %+v", len(acts), last)
	}
	// One that is named and not there is said to be so.
	for r, err := range c.Discard(t.Context(), deadletter.Filter{Sequences: []uint64{1}}) {
		if err != nil || !errors.Is(r.Skipped, deadletter.ErrNotFound) {
			t.Errorf("%+v, %v", r, err)
		}
	}
	// Ending early leaves the rest.
	for _, err := range c.Discard(t.Context(), deadletter.Filter{}) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if left := list(t, c, deadletter.Filter{}); len(left) == 0 || len(left) == 200 {
		t.Errorf("%d left after an early end", len(left))
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	subscribe(t, js, "", "billing", errors.New("broken"))
	place(t, js, "", "e-1", []byte("{\n  \"order_id\": \"o 1\"\n}"))
	l := letters(t, js, "", 1)[0]
	for _, name := range []string{consume.HeaderDeadOmitted, consume.HeaderDeadRedacted} {
		m := message(l)
		m.Header.Set(name, "body")
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	bad := message(l)
	bad.Header.Del("ce-id")
	if _, err := js.PublishMsg(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var skipped []error
	for r, err := range client(t, js, "").Export(t.Context(), &out, deadletter.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		skipped = append(skipped, r.Skipped)
	}
	if len(skipped) != 4 || skipped[0] != nil || skipped[1] != nil ||
		!errors.Is(skipped[2], deadletter.ErrRedacted) || !errors.Is(skipped[3], deadletter.ErrLetter) {
		t.Errorf("skipped %v", skipped)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || lines[0] != lines[1] || !strings.Contains(lines[0], `"data":{"order_id":"o 1"}`) || !strings.Contains(lines[0], `"specversion":"1.0"`) {
		t.Errorf("exported %q", lines)
	}
}

// A redacted letter is replayed as the event that stands in EVENTS, or not at all.
func TestReplayOfARedactedLetter(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	g := &group{broken: errors.New("broken")}
	run(t, js, consume.Config{
		Group: "billing", MaxAttempts: 1, Logger: slog.New(slog.DiscardHandler),
		Redact: func(l *consume.Letter) { l.Key, l.Data, l.Error = "", []byte("{}"), "hidden" },
	}, g)
	place(t, js, "", "e-1", []byte(`{"card":"4111"}`))
	place(t, js, "", "e-2", []byte(`{"card":"4222"}`))
	all := letters(t, js, "", 2)
	l := all[0]
	if l.Redacted != "body,headers" || l.Key != "" || l.Error != "hidden" || l.Origin.Subject != "events."+orderType+"._" {
		t.Errorf("letter is %+v", l)
	}
	g.repair()
	r, err := client(t, js, "").ReplayOne(t.Context(), l.Sequence)
	if err != nil || r.Subject != "retry.billing.due.shop-order-placed-v1.o%201" {
		t.Fatalf("%+v, %v", r, err)
	}
	testserver.Eventually(t, wait, func() bool { return len(g.events()) == 1 }, "billing handles it")
	if e := g.events()[0]; string(e.Data) != `{"card":"4111"}` && string(e.Data) != `{"card":"4222"}` || e.Key != "o 1" || e.Delivery.Replays != 1 {
		t.Errorf("handled %+v", e)
	}
	if err := js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, js, "").ReplayOne(t.Context(), all[1].Sequence); !errors.Is(err, deadletter.ErrOriginGone) {
		t.Errorf("without the event: %v", err)
	}
}
