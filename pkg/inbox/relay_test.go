package inbox_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
)

// TestMarkerIsReadLate has an owner read the relay markers only after it has lost
// its lease and another has relayed what it committed: it must not relay that
// again. The fault machine found it.
func TestMarkerIsReadLate(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Listen())
	p := testserver.StartProxy(t, s.URL())
	// Before the first claim, so that the partitions have a marker to be read.
	p.Inject(testserver.Fault{
		Match: testserver.Published("$JS.API.STREAM.MSG.GET.EVENTS"), Action: testserver.Delay, Delay: 2200 * time.Millisecond,
	})
	read := p.Inject(testserver.Fault{Match: testserver.Answered("$JS.API.STREAM.MSG.GET.EVENTS"), Action: testserver.Delay})
	a, _ := start(t, p.JetStream(t), quick(), adding(), showing())
	eventually(t, owns(a, 8))
	to := client(t, s.JetStream(t))
	const keys = 16
	for k := range keys {
		if err := to.Send(t.Context(), "k"+strconv.Itoa(k), itemAdded{N: 0}); err != nil {
			t.Fatal(err)
		}
	}
	checkCarts(t, to, keys, 1) // committed, and not relayed yet
	silent := p.Inject(testserver.Fault{Match: testserver.Published("$KV.AGNER_INBOXES.>")})
	b, _ := start(t, s.JetStream(t), quick(), adding(), showing())
	eventually(t, owns(b, 8))
	select {
	case <-read.Hit():
	case <-time.After(wait):
		t.Error("the first owner never read a marker")
	}
	silent.Remove()
	for k := range keys {
		if err := to.Send(t.Context(), "k"+strconv.Itoa(k), itemAdded{N: 1}); err != nil {
			t.Fatal(err)
		}
	}
	checkCarts(t, to, keys, 2)
	checkOutputs(t, s.JetStream(t), keys, 2)
}
