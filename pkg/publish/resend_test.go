package publish_test

import (
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/publish"
)

// TestSentAgain loses one message of an event's way, and expects one copy in the
// stream and an Ack that calls none of it a duplicate.
func TestSentAgain(t *testing.T) {
	t.Parallel()
	const subject = "events.test.tick.v1.k"
	for name, tc := range map[string]struct {
		fault      testserver.Fault
		ackTimeout time.Duration
	}{
		"event lost": {testserver.Fault{Match: testserver.Published(subject), Nth: 1}, 100 * time.Millisecond},
		"ack lost":   {testserver.Fault{Match: testserver.Answered(subject), Nth: 1}, 100 * time.Millisecond},
		"ack late":   {testserver.Fault{Match: testserver.Answered(subject), Nth: 1, Action: testserver.Delay, Delay: 300 * time.Millisecond}, 100 * time.Millisecond},
		// What a cut connection has lost is sent as soon as there is another:
		// the attempt's time is far from up.
		"cut before the event": {testserver.Fault{Match: testserver.Published(subject), Nth: 1, Action: testserver.CutBefore}, time.Minute},
		"cut behind the event": {testserver.Fault{Match: testserver.Published(subject), Nth: 1, Action: testserver.CutAfter}, time.Minute},
		"cut before the ack":   {testserver.Fault{Match: testserver.Answered(subject), Nth: 1, Action: testserver.CutBefore}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := testserver.Start(t, testserver.Listen())
			proxy := testserver.StartProxy(t, srv.URL())
			pub := newPublisher(t, proxy.JetStream(t), publish.Config{AckTimeout: tc.ackTimeout})
			fault := proxy.Inject(tc.fault)
			for n := 1; n <= 2; n++ {
				ack, err := pub.Publish(t.Context(), tick{Key: "k", N: n})
				if err != nil || ack.Duplicate || ack.Sequence != uint64(n) {
					t.Errorf("event %d: %+v, %v", n, ack, err)
				}
			}
			if fault.Hits() != 1 {
				t.Errorf("the fault struck %d times", fault.Hits())
			}
			if stored := readTicks(t, srv.JetStream(t)); len(stored) != 2 || stored[0].N != 1 {
				t.Errorf("stored %+v", stored)
			}
		})
	}
}
