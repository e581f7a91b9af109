package consume_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// healCycles: AGNER_HEAL=long is 100 cycles of each kind, one kind after the
// other so that memory can be compared; the plain form is two, side by side.
func healCycles() (n int, long bool) {
	if os.Getenv("AGNER_HEAL") == "long" {
		return 100, true
	}
	return 2, false
}

// link is what the fault of one cycle may act on.
type link struct {
	*bundle
	t     *testing.T
	child *testserver.Child
	proxy *testserver.Proxy
	peers *testserver.ChildCluster

	proxied *nats.Conn // the consumer's
}

// TestHealCycles causes each kind of fault that heals, again and again: after each
// an event that is published is handled, none is lost, and what the cycles leave
// behind would show in the goroutines, the subscriptions and the heap.
func TestHealCycles(t *testing.T) { //nolint:tparallel // the long form compares memory: one kind after the other
	t.Parallel()
	for kind, fault := range map[string]func(*link) error{
		"durable deleted": func(l *link) error { return l.js.DeleteConsumer(l.t.Context(), "EVENTS", durableName) },
		laneDeleted: func(l *link) error {
			return l.js.DeleteConsumer(l.t.Context(), "RETRY_billing", durableName)
		},
		"stream deleted":     func(l *link) error { return l.js.DeleteStream(l.t.Context(), "EVENTS") },
		"connection cut":     func(l *link) error { l.proxy.Cut(); return nil },
		"black hole":         blackHole,
		"deleted while away": deletedWhileAway,
		"server killed":      func(l *link) error { l.child.Kill(); l.child.Restart(l.t); return nil },
		"server restarted":   func(l *link) error { l.child.Restart(l.t); return nil },
		"leader change":      func(l *link) error { l.peers.StepDown("EVENTS"); return nil },
	} {
		t.Run(kind, func(t *testing.T) {
			if _, long := healCycles(); !long {
				t.Parallel()
				if slices.Contains([]string{"black hole", "server killed", "server restarted", "leader change"}, kind) {
					t.Log("in the plain form other tests cause this once; `make heal` does it 100 times")
					return
				}
			}
			healAgainAndAgain(t, kind, fault)
		})
	}
}

// laneDeleted is the one kind whose events go through the lane.
const laneDeleted = "lane durable deleted"

func blackHole(l *link) error {
	before := l.proxied.Stats().Reconnects
	l.proxy.Hold(true)
	testserver.Eventually(l.t, wait, func() bool { return !l.proxied.IsConnected() || l.proxied.Stats().Reconnects > before }, "nobody noticed")
	l.proxy.Hold(false)
	return nil
}

func deletedWhileAway(l *link) error {
	l.proxy.Refuse(true)
	defer l.proxy.Refuse(false)
	l.proxy.Cut()
	return l.js.DeleteConsumer(l.t.Context(), "EVENTS", durableName)
}

func healAgainAndAgain(t *testing.T, kind string, fault func(*link) error) {
	t.Helper()
	cycles, long := healCycles()
	l := &link{bundle: &bundle{}, t: t}
	short := []nats.Option{nats.PingInterval(200 * time.Millisecond), nats.MaxPingsOutstanding(2), nats.ReconnectWait(20 * time.Millisecond)}
	if kind == "leader change" {
		l.peers = testserver.StartChildCluster(t, 3)
		l.js, l.proxied = l.peers.JetStream(t), l.peers.Connect(t, short...)
	} else {
		l.child = testserver.StartChild(t)
		l.js = l.child.JetStream(t)
		l.proxy = testserver.StartProxy(t, l.child.URL())
		l.proxied = l.proxy.Connect(t, short...)
	}
	js, err := jetstream.New(l.proxied)
	if err != nil {
		t.Fatal(err)
	}
	l.streams(t)
	got := newTally()
	cfg := quick()
	cfg.Concurrency = 2 // workers stay once they were needed: so few that they are no leak
	c, _ := start(t, js, cfg, consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		if kind == laneDeleted && e.Delivery.Attempt == 1 {
			return errors.New("to the lane")
		}
		got.add(e.ID)
		return nil
	}))
	handled := func(n int) {
		t.Helper()
		id := strconv.Itoa(n)
		m := message(t, id, orderPlaced{OrderID: "o-" + id})
		m.Header.Set(nats.MsgIdHdr, id)
		eventually(t, func() error { // it may be stored and unacknowledged
			_, err := l.js.PublishMsg(t.Context(), m)
			return err
		})
		eventually(t, func() error {
			if got.of(id) == 0 {
				return fmt.Errorf("event %s: %+v", id, c.Status().Subscriptions[0])
			}
			return nil
		})
	}
	handled(0)
	// The first cycle is before the comparison: it fills pools and caches.
	var times []time.Duration
	var before footprint
	for n := 1; n <= cycles+1; n++ {
		if n == 2 {
			before = takeFootprint(l.proxied)
		}
		began := time.Now()
		if err := fault(l); err != nil {
			t.Fatal(err)
		}
		handled(n)
		if n > 1 {
			times = append(times, time.Since(began))
		}
	}
	eventually(t, func() error { return errors.Join(l.idle(t, "EVENTS"), l.idle(t, "RETRY_billing")) })
	again := got.extra()
	after := takeFootprint(l.proxied)
	slices.Sort(times)
	t.Logf("%d cycles: healed after %s (half), %s (most); %d runs more than events; before %+v, after %+v",
		cycles, times[len(times)/2], times[len(times)-1], again, before, after)
	if after.subscriptions > before.subscriptions {
		t.Errorf("subscriptions %d, then %d", before.subscriptions, after.subscriptions)
	}
	if !long {
		return // other tests come and go beside this one
	}
	if after.goroutines > before.goroutines+5 {
		t.Errorf("goroutines %d, then %d", before.goroutines, after.goroutines)
	}
	if after.heap > before.heap+before.heap/5+1<<20 {
		t.Errorf("heap %d, then %d", before.heap, after.heap)
	}
}

// footprint is what grows if something is left behind.
type footprint struct {
	goroutines, subscriptions int
	heap                      uint64
}

func takeFootprint(nc *nats.Conn) footprint {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{runtime.NumGoroutine(), nc.NumSubscriptions(), m.HeapAlloc}
}
