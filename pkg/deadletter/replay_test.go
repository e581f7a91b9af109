package deadletter_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/deadletter"
	"github.com/agner-go/agner/pkg/envelope"
)

func TestReplayReachesTheOneSubscription(t *testing.T) {
	t.Parallel()
	for _, ns := range []subject.Namespace{"", "staging"} {
		t.Run("namespace "+string(ns), func(t *testing.T) {
			t.Parallel()
			js := testserver.Start(t).JetStream(t)
			billing := subscribe(t, js, ns, "billing", errors.New("currency JPY is not known:\nline 2"))
			notify := subscribe(t, js, ns, "notify", nil)
			place(t, js, ns, "e-1", []byte(`{"order_id":"o 1"}`))

			l := letters(t, js, ns, 1)[0]
			if l.Group != "billing" || l.Subscription != "shop-order-placed-v1" || l.Reason != "exhausted" ||
				l.Error != "currency JPY is not known:\nline 2" || l.Attempts != 1 || l.Round != 0 ||
				l.Origin.Sequence != 1 || l.Origin.Stream != ns.Stream("EVENTS") || l.First.IsZero() {
				t.Errorf("letter is %+v", l)
			}
			if l.Type != orderType || l.Key != "o 1" || l.EventID != "e-1" || l.Source != "/test" || l.Size != 18 || l.Data != nil {
				t.Errorf("letter in the list is %+v", l)
			}
			l, err := client(t, js, ns).Get(t.Context(), l.Sequence)
			if err != nil {
				t.Fatal(err)
			}
			if e, err := l.Event(); err != nil || e.ID != "e-1" {
				t.Errorf("event of the letter is %+v, %v", e, err)
			}

			billing.repair()
			r, err := client(t, js, ns).ReplayOne(t.Context(), l.Sequence)
			if err != nil {
				t.Fatal(err)
			}
			if r.Stream != ns.Stream("RETRY_billing") || r.Repeated {
				t.Errorf("replayed to %+v", r)
			}
			testserver.Eventually(t, wait, func() bool { return len(billing.events()) == 1 }, "billing handles it")
			e := billing.events()[0]
			if e.ID != "e-1" || e.Key != "o 1" || string(e.Data) != `{"order_id":"o 1"}` || len(e.Extensions) != 1 {
				t.Errorf("handled event is %+v", e)
			}
			if d := e.Delivery; d.Replays != 1 || d.Attempt != 1 || d.Sequence != 1 || d.Stream != ns.Stream("EVENTS") {
				t.Errorf("its delivery is %+v", d)
			}
			letters(t, js, ns, 0)
			testserver.Eventually(t, wait, func() bool { return len(notify.events()) > 0 }, "notify handles the original")
			if n := len(notify.events()); n != 1 {
				t.Errorf("notify handled %d events, want the one original", n)
			}
			if _, err := client(t, js, ns).ReplayOne(t.Context(), l.Sequence); !errors.Is(err, deadletter.ErrNotFound) {
				t.Errorf("second replay: %v, want ErrNotFound", err)
			}
		})
	}
}

func TestReplayThatFailsAgainIsANewLetter(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	subscribe(t, js, "", "billing", errors.New("still broken"))
	place(t, js, "", "e-1", []byte(`{}`))
	first := letters(t, js, "", 1)[0]
	for round := 1; round <= 5; round++ {
		if _, err := client(t, js, "").ReplayOne(t.Context(), letters(t, js, "", 1)[0].Sequence); err != nil {
			t.Fatal(err)
		}
		var l *deadletter.Letter
		testserver.Eventually(t, wait, func() bool {
			l = letters(t, js, "", 1)[0]
			return l.Round == round
		}, "letter of round %d", round)
		if l.Origin != first.Origin || !l.First.Equal(first.First) {
			t.Errorf("round %d: letter is %+v, want the origin of %+v", round, l, first)
		}
		if n := len(l.History); n != min(round, 4) || l.History[n-1].Round != round-1 || l.History[n-1].Error != "still broken" ||
			l.History[n-1].Reason != deadletter.ReasonExhausted || l.History[n-1].Attempts != 1 || l.History[n-1].At.IsZero() {
			t.Errorf("round %d: history is %+v", round, l.History)
		}
	}
}

// An interruption between the two steps of a replay, and another try.
func TestReplayInterruptedStoresOnce(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Listen())
	js := s.JetStream(t)
	billing := subscribe(t, js, "", "billing", errors.New("broken"))
	place(t, js, "", "e-1", []byte(`{}`))
	l := letters(t, js, "", 1)[0]
	billing.repair()

	p := testserver.StartProxy(t, s.URL())
	fault := p.Inject(testserver.Fault{Match: testserver.Published("$JS.API.STREAM.MSG.DELETE.DEAD"), Action: testserver.CutBefore})
	cut, err := jetstream.New(p.JetStream(t).Conn(), jetstream.WithDefaultTimeout(300*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, cut, "").ReplayOne(t.Context(), l.Sequence); err == nil || !strings.Contains(err.Error(), "run this again") {
		t.Fatalf("interrupted replay: %v", err)
	}
	testserver.Eventually(t, wait, func() bool { return len(billing.events()) == 1 }, "billing handles it")
	letters(t, js, "", 1)
	fault.Remove()

	r, err := client(t, js, "").ReplayOne(t.Context(), l.Sequence)
	if err != nil || !r.Repeated {
		t.Fatalf("second replay: %+v, %v, want it to find the first", r, err)
	}
	letters(t, js, "", 0)
	place(t, js, "", "e-2", []byte(`{}`))
	testserver.Eventually(t, wait, func() bool { return len(billing.events()) == 2 }, "billing handles the next")
	if ids := billing.events()[0].ID + " " + billing.events()[1].ID; ids != "e-1 e-2" {
		t.Errorf("handled %s, want each once", ids)
	}
}

// A letter too large for its own headers is kept without its body.
func TestReplayFetchesAnOmittedBody(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	billing := subscribe(t, js, "", "billing", errors.New(strings.Repeat("ü", 500))) // 3,000 bytes on the wire
	data := []byte(`"` + strings.Repeat("x", int(js.Conn().MaxPayload())-2500) + `"`)
	m, err := envelope.Marshal(&envelope.Raw{
		Attributes: envelope.Attributes{ID: "e-1", Source: "/test", Type: orderType, DataContentType: "application/json"}, Data: data,
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Subject = "events." + orderType + "._"
	testserver.Eventually(t, wait, func() error {
		_, err := js.PublishMsg(t.Context(), m)
		return err
	}, "store the large event")
	l := letters(t, js, "", 1)[0]
	if l.Omitted != "body" || len(l.Data) != 0 {
		t.Fatalf("letter omits %q and has %d bytes, want it without its body", l.Omitted, len(l.Data))
	}
	billing.repair()
	if _, err := client(t, js, "").ReplayOne(t.Context(), l.Sequence); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, wait, func() bool { return len(billing.events()) == 1 }, "billing handles it")
	if got := billing.events()[0].Data; !bytes.Equal(got, data) {
		t.Errorf("handled %d bytes, want the %d of the event", len(got), len(data))
	}
}

func TestReplayRefuses(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	if _, err := client(t, js, "").ReplayOne(t.Context(), 1); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("without a stream: %v", err)
	}
	subscribe(t, js, "", "billing", errors.New(strings.Repeat("ü", 500)))
	place(t, js, "", "e-1", []byte(`{}`))
	l := letters(t, js, "", 1)[0]

	for name, c := range map[string]struct {
		change func(h map[string][]string)
		want   error
	}{
		"no dead letter": {func(h map[string][]string) { delete(h, consume.HeaderDeadGroup) }, deadletter.ErrLetter},
		"bad number":     {func(h map[string][]string) { h[consume.HeaderDeadRound] = []string{"many"} }, deadletter.ErrLetter},
		"bad time":       {func(h map[string][]string) { h[consume.HeaderDeadFirst] = []string{"noon"} }, deadletter.ErrLetter},
		"no such group":  {func(h map[string][]string) { h[consume.HeaderDeadGroup] = []string{"nobody"} }, deadletter.ErrNoLane},
		"event is gone": {func(h map[string][]string) {
			h[consume.HeaderDeadOmitted] = []string{"body"}
			h[consume.HeaderDeadSequence] = []string{"99"}
		}, deadletter.ErrOriginGone},
		"another stream": {func(h map[string][]string) {
			h[consume.HeaderDeadOmitted] = []string{"body"}
			h[consume.HeaderDeadCreated] = []string{"1"}
		}, deadletter.ErrOriginGone},
	} {
		m := message(l)
		c.change(m.Header)
		ack, err := js.PublishMsg(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client(t, js, "").ReplayOne(t.Context(), ack.Sequence); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if _, err := client(t, js, "").Get(t.Context(), ack.Sequence); errors.Is(err, deadletter.ErrNotFound) {
			t.Errorf("%s: the message is gone after a replay that failed", name)
		}
	}
}
