package publish_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

// ticks makes n payloads of which each key has every second.
func ticks(n int) []envelope.Payload {
	out := make([]envelope.Payload, n)
	for i := range out {
		out[i] = tick{Key: fmt.Sprintf("k%d", i%2), N: i + 1}
	}
	return out
}

// checkBatch compares acks with what the stream holds at the end.
func checkBatch(t *testing.T, js jetstream.JetStream, acks []publish.Ack, payloads []envelope.Payload) {
	t.Helper()
	if len(acks) != len(payloads) {
		t.Fatalf("%d acks for %d payloads", len(acks), len(payloads))
	}
	stored := readTicks(t, js)
	if len(stored) < len(payloads) {
		t.Fatalf("%d events stored, want %d", len(stored), len(payloads))
	}
	for i, s := range stored[len(stored)-len(payloads):] {
		if s.tick != payloads[i] || s.sequence != acks[i].Sequence || acks[i].Stream != "EVENTS" || acks[i].ID == "" {
			t.Errorf("event %d: stored %+v, ack %+v", i, s, acks[i])
		}
	}
}

func TestPublishBatch(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 7, publish.MaxBatch} {
		js := testserver.Start(t).JetStream(t)
		pub := newPublisher(t, js, publish.Config{MaxInFlight: 100})
		payloads := ticks(n)
		acks, err := pub.PublishBatch(t.Context(), payloads)
		if err != nil {
			t.Fatalf("batch of %d: %v", n, err)
		}
		checkBatch(t, js, acks, payloads)
	}
	pub := newPublisher(t, testserver.Start(t).JetStream(t), publish.Config{})
	if acks, err := pub.PublishBatch(t.Context(), nil); acks != nil || err != nil {
		t.Errorf("empty batch: %v, %v", acks, err)
	}
}

// TestBatchRefusedBeforeSending covers the limits: nothing is sent, and the
// error names the event.
func TestBatchRefusedBeforeSending(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub := newPublisher(t, js, publish.Config{})
	if _, err := pub.Publish(t.Context(), tick{Key: "k", N: 1}); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		payloads []envelope.Payload
		want     error
		text     string
	}{
		"too many":    {ticks(publish.MaxBatch + 1), publish.ErrTooLarge, "1001 events"},
		"too large":   {append(ticks(1), bulky{Text: strings.Repeat("x", 1<<20)}), publish.ErrTooLarge, "event 2 of 2"},
		"bad payload": {append(ticks(1), badType{}), envelope.ErrText, "event 2 of 2"},
		"nil payload": {append(ticks(1), nil), envelope.ErrPayload, "event 2 of 2"},
	} {
		acks, err := pub.PublishBatch(t.Context(), tc.payloads)
		if acks != nil || !errors.Is(err, publish.ErrNotSent) || !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v, %v", name, acks, err)
		}
	}
	if stored := readTicks(t, js); len(stored) != 1 {
		t.Errorf("%d events stored, want only the first", len(stored))
	}
}

type bulky struct {
	Text string `json:"text"`
}

func (bulky) EventType() string { return "test.bulky.v1" }

type badType struct{}

func (badType) EventType() string { return "test\x00bad" }

// TestBatchCommitAmbiguous loses what tells the publisher that the batch is
// stored; it looks, and finds it.
func TestBatchCommitAmbiguous(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]testserver.Fault{
		"ack of the commit lost":         {Match: testserver.Answered("events.>"), Nth: 5, Action: testserver.Drop},
		"connection cut at the commit":   {Match: testserver.Published("events.>"), Nth: 5, Action: testserver.CutAfter},
		"connection cut inside":          {Match: testserver.Published("events.>"), Nth: 3, Action: testserver.CutBefore},
		"one message lost":               {Match: testserver.Published("events.>"), Nth: 2, Action: testserver.Drop},
		"ack of the commit late":         {Match: testserver.Answered("events.>"), Nth: 5, Action: testserver.Delay, Delay: 400 * time.Millisecond},
		"commit late, behind the second": {Match: testserver.Published("events.>"), Nth: 5, Action: testserver.Delay, Delay: 400 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := testserver.Start(t, testserver.Listen())
			proxy := testserver.StartProxy(t, srv.URL())
			pub := newPublisher(t, proxy.JetStream(t), publish.Config{AckTimeout: 200 * time.Millisecond})
			createStreams(t, srv.JetStream(t))
			injected := proxy.Inject(fault)
			payloads := ticks(5)
			acks, err := pub.PublishBatch(t.Context(), payloads)
			if err != nil {
				t.Fatal(err)
			}
			if injected.Hits() != 1 {
				t.Errorf("the fault struck %d times", injected.Hits())
			}
			checkBatch(t, srv.JetStream(t), acks, payloads)
			if stored := readTicks(t, srv.JetStream(t)); len(stored) != 5 {
				t.Errorf("%d events stored", len(stored))
			}
			if slices.ContainsFunc(acks, func(a publish.Ack) bool { return a.Duplicate }) {
				t.Errorf("its own resending is called a duplicate: %+v", acks)
			}
		})
	}
}

func createStreams(tb testing.TB, js jetstream.JetStream) {
	tb.Helper()
	for _, shape := range []jetstream.StreamConfig{stream.Scheduled(""), stream.Events(""), stream.Dead("")} {
		if _, err := js.CreateStream(tb.Context(), shape); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestBatchPublishedAgain(t *testing.T) {
	t.Parallel()
	testBatchPublishedAgain(t, testserver.Start(t).JetStream(t))
}

// testBatchPublishedAgain leans on the order in which the server checks a
// message (known ids before rollups), so it runs on one server and on three.
func testBatchPublishedAgain(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	pub := newPublisher(t, js, publish.Config{})
	payloads := ticks(4)
	first, err := pub.PublishBatch(t.Context(), payloads, publish.WithID("batch"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := pub.PublishBatch(t.Context(), payloads, publish.WithID("batch"))
	if err != nil {
		t.Fatalf("published again: %v", err)
	}
	for i := range first {
		want := first[i]
		want.Duplicate = true
		if again[i] != want {
			t.Errorf("event %d: %+v, then %+v", i, first[i], again[i])
		}
	}
	// A longer batch under the same id is stored in part already.
	_, err = pub.PublishBatch(t.Context(), ticks(6), publish.WithID("batch"))
	if !errors.Is(err, publish.ErrRejected) || !errors.Is(err, publish.ErrPartlyStored) || !strings.Contains(err.Error(), "4 of 6") {
		t.Errorf("partly stored: %v", err)
	}
	stored := readTicks(t, js)
	if len(stored) != 4 {
		t.Errorf("%d events stored, want 4", len(stored))
	}
	// The look-up has left no trace of the ids that were not known.
	if ack, err := pub.Publish(t.Context(), tick{Key: "k", N: 1}, publish.WithID("batch.5")); err != nil || ack.Duplicate || ack.Sequence != 5 {
		t.Errorf("an id of the refused part: %+v, %v", ack, err)
	}
}

func TestBatchOnStreamWithoutAtomicPublish(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}}); err != nil {
		t.Fatal(err)
	}
	pub := newPublisher(t, js, publish.Config{Provision: new(false)})
	_, err := pub.PublishBatch(t.Context(), ticks(3))
	var api *jetstream.APIError
	if !errors.Is(err, publish.ErrRejected) || !errors.As(err, &api) || api.ErrorCode != 10174 {
		t.Errorf("%v", err)
	}
}

// TestBatchWaitsForItsKeys puts a batch behind an event of one of its keys that
// is lost on the way, and an event behind the batch.
func TestBatchWaitsForItsKeys(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Listen())
	proxy := testserver.StartProxy(t, srv.URL())
	createStreams(t, srv.JetStream(t))
	pub := newPublisher(t, proxy.JetStream(t), publish.Config{AckTimeout: 200 * time.Millisecond})
	proxy.Inject(testserver.Fault{Match: testserver.Published("events.test.tick.v1.k1"), Nth: 1})
	before := pub.PublishAsync(t.Context(), tick{Key: "k1", N: 1})
	other := pub.PublishAsync(t.Context(), tick{Key: "k9", N: 2})
	acks, err := pub.PublishBatch(t.Context(), []envelope.Payload{tick{Key: "k0", N: 3}, tick{Key: "k1", N: 4}, tick{Key: "k1", N: 5}})
	if err != nil {
		t.Fatal(err)
	}
	after, err := pub.Publish(t.Context(), tick{Key: "k0", N: 6})
	if err != nil {
		t.Fatal(err)
	}
	first, err := before.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	free, err := other.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if free.Sequence != 1 || first.Sequence != 2 || acks[0].Sequence != 3 || acks[2].Sequence != 5 || after.Sequence != 6 {
		t.Errorf("stored at: other key %d, before %d, batch %+v, after %d", free.Sequence, first.Sequence, acks, after.Sequence)
	}
}
