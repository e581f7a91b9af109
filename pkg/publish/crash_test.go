package publish_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/publish"
)

// TestServerKilled publishes 10,000 events while the server is killed with
// SIGKILL five times: every acknowledged one is stored once, in the order of its
// key, and since each time the server comes back, all are acknowledged.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	const events, kills, publishers = 10_000, 5, 4
	child := testserver.StartChild(t)
	l := newLedger()
	var wg sync.WaitGroup
	for p := range publishers {
		pub := newPublisher(t, child.JetStream(t), publish.Config{AckTimeout: time.Second, MaxInFlight: 64})
		wg.Go(func() {
			var results sync.WaitGroup
			defer results.Wait()
			for n := 1; n <= events/publishers; n++ {
				ev := tick{Publisher: p, Key: fmt.Sprintf("k%d", n%50), N: n}
				f := pub.PublishAsync(t.Context(), ev)
				results.Go(func() {
					ack, err := f.Wait(t.Context())
					l.record(ev, ack.Sequence, err)
				})
			}
		})
	}
	for k := 1; k <= kills; k++ {
		goal := k * events / (kills + 1)
		testserver.Eventually(t, 20*time.Second, func() bool { return l.ackedSoFar() >= goal }, "%d of %d events acknowledged", goal, events)
		child.Kill()
		child.Restart(t)
	}
	wg.Wait()
	f := l.inspect(t, child.JetStream(t))
	if f.broken() > 0 || f.acked != events {
		t.Errorf("after %d kills: %+v", kills, *f)
	}
	t.Logf("%+v", *f)
}

// TestCluster shares three servers, which take a second to start.
func TestCluster(t *testing.T) { //nolint:tparallel // its parts come one after the other: the second disturbs
	t.Parallel()
	cluster := testserver.StartCluster(t, 3)
	t.Run("batch published again", func(t *testing.T) { testBatchPublishedAgain(t, cluster.JetStream(t)) })
	if err := cluster.JetStream(t).DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	t.Run("leader steps down", func(t *testing.T) { testLeaderStepsDown(t, cluster) })
}

// testLeaderStepsDown publishes to a stream of three replicas whose leader gives
// up meanwhile: nothing is lost, repeated or out of order.
func testLeaderStepsDown(t *testing.T, cluster *testserver.Cluster) {
	t.Helper()
	const stepDowns, between = 2, 300
	pub := newPublisher(t, cluster.JetStream(t), publish.Config{AckTimeout: time.Second, MaxInFlight: 64})
	l := newLedger()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var results sync.WaitGroup
		defer results.Wait()
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			ev := tick{Key: fmt.Sprintf("k%d", n%20), N: n}
			f := pub.PublishAsync(t.Context(), ev)
			results.Go(func() {
				ack, err := f.Wait(t.Context())
				l.record(ev, ack.Sequence, err)
			})
		}
	})
	more := func() {
		goal := l.ackedSoFar() + between
		testserver.Eventually(t, 20*time.Second, func() bool { return l.ackedSoFar() >= goal }, "%d events acknowledged", goal)
	}
	for range stepDowns {
		more()
		cluster.StepDown("EVENTS")
	}
	more()
	close(stop)
	wg.Wait()
	cluster.WaitCurrent("EVENTS")
	f := l.inspect(t, cluster.JetStream(t))
	if failed := f.unknown + f.rejected + f.notSent; f.broken() > 0 || failed > 0 {
		t.Errorf("after %d step-downs: %+v", stepDowns, *f)
	}
	t.Logf("%+v", *f)
}
