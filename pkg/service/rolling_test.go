package service_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/service"
)

const (
	// rollingEnv makes the rolling test long: "60s" spreads three full restarts of
	// the fleet over that time, at 500 calls and 500 events a second.
	rollingEnv = "AGNER_ROLLING"
	// rollingClusterEnv has it run on a cluster of three.
	rollingClusterEnv = "AGNER_ROLLING_CLUSTER"
)

// broker is one server or a cluster, in processes of their own.
type broker interface {
	URL() string
	Connect(tb testing.TB, opts ...nats.Option) *nats.Conn
	JetStream(tb testing.TB, opts ...nats.Option) jetstream.JetStream
}

func startBroker(t *testing.T) broker {
	t.Helper()
	if os.Getenv(rollingClusterEnv) != "" {
		return testserver.StartChildCluster(t, 3)
	}
	return testserver.StartChild(t)
}

// rollingLoad is what a rolling test does.
type rollingLoad struct {
	instances, rounds int
	over              time.Duration
	rate              int // calls a second, and events
}

// Four instances, processes of their own, are replaced one by one, each told to
// stop by SIGTERM, under calls and events: none fails, is lost or runs twice.
func TestRollingDeploy(t *testing.T) {
	load := rollingLoad{instances: 4, rounds: 1, over: time.Second, rate: 200}
	if long := os.Getenv(rollingEnv); long != "" {
		over, err := time.ParseDuration(long)
		if err != nil {
			t.Fatal(err)
		}
		load = rollingLoad{instances: 4, rounds: 3, over: over, rate: 500}
	}
	srv := startBroker(t)
	dir := t.TempDir()
	var fleet []*instanceProcess
	n := 0
	launch := func() *instanceProcess {
		n++
		p, err := startInstance(t, instanceSpec{URL: srv.URL(), Dir: dir, Name: fmt.Sprintf("i-%d", n)})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for range load.instances {
		fleet = append(fleet, launch())
	}
	js := srv.JetStream(t)
	began := time.Now()
	endLoad := startLoad(t, srv, js, dir, load.rate)
	restarts := load.instances * load.rounds
	for i := range restarts {
		due(t.Context(), began.Add(load.over*time.Duration(i)/time.Duration(restarts)))
		if err := fleet[i%load.instances].stop(); err != nil {
			t.Error(err)
		}
		fleet[i%load.instances] = launch()
	}
	due(t.Context(), began.Add(load.over))
	endLoad()
	took := time.Since(began)
	awaitAcknowledged(t, js)
	for _, p := range fleet {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}
	history, err := readHistory(dir)
	if err != nil {
		t.Fatal(err)
	}
	v := judge(history)
	for _, f := range v.findings {
		t.Error(f)
	}
	least := int(took.Seconds() * float64(load.rate) * 0.9)
	if v.calls < least || v.events < least {
		t.Errorf("%d calls and %d events in %v are less than %d a second", v.calls, v.events, took, load.rate)
	}
	t.Logf("%d restarts in %v, %d calls, %d events", restarts, took.Round(time.Millisecond), v.calls, v.events)
}

// An instance that is killed takes the calls with it that it has. Where the
// endpoint is idempotent and the caller says Retry, nobody sees it.
func TestKilledInstances(t *testing.T) {
	srv := testserver.StartChild(t)
	dir := t.TempDir()
	launch := func(n int) *instanceProcess {
		p, err := startInstance(t, instanceSpec{URL: srv.URL(), Dir: dir, Name: fmt.Sprintf("k-%d", n)})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	fleet := []*instanceProcess{launch(0), launch(1), launch(2)}
	cl := newClient(t, srv.Connect(t), service.ClientConfig{Timeout: 20 * time.Second, RetryRatio: 1})
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var silent atomic.Int64 // calls that were answered by a later attempt
	every(ctx, &all, 200, func(n int) {
		called := time.Now()
		r, err := service.Call[numbered](t.Context(), cl, "billing.count", numbered{n}, service.Retry(500*time.Millisecond))
		if err != nil || r.N != n {
			t.Errorf("call %d: %d, %v", n, r.N, err)
		}
		if time.Since(called) > 500*time.Millisecond {
			silent.Add(1)
		}
	})
	for i := range 4 {
		due(t.Context(), time.Now().Add(50*time.Millisecond))
		if err := fleet[i%3].cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		<-fleet[i%3].exited
		fleet[i%3] = launch(3 + i)
	}
	cancel()
	all.Wait()
	t.Logf("%d calls were made again", silent.Load())
	for _, p := range fleet {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}
}

// startLoad makes calls and publishes events, so many a second, until the
// returned function is called, which waits for what is under way.
func startLoad(t *testing.T, srv broker, js jetstream.JetStream, dir string, rate int) (stop func()) {
	t.Helper()
	pub, err := publish.New(js, publish.Config{Source: "/rolling"})
	if err != nil {
		t.Fatal(err)
	}
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	j, err := openJournal(dir, "driver")
	if err != nil {
		t.Fatal(err)
	}
	note := func(fact string, n int, err error) {
		if err := j.write(fact, n, err); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	every(ctx, &all, rate, func(n int) {
		r, err := service.Call[numbered](t.Context(), cl, "billing.count", numbered{n})
		if err == nil && r.N != n {
			err = fmt.Errorf("got the reply %d", r.N)
		}
		note(factCalled, n, err)
	})
	every(ctx, &all, rate, func(n int) {
		_, err := pub.Publish(t.Context(), numbered{n})
		note(factPublished, n, err)
	})
	return func() {
		cancel()
		all.Wait()
		if err := pub.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// every does something so many times a second until ctx ends, each in a
// goroutine of its own, so that a slow one makes none wait.
func every(ctx context.Context, all *sync.WaitGroup, rate int, do func(n int)) {
	all.Go(func() {
		began := time.Now()
		for n := 0; due(ctx, began.Add(time.Duration(n)*time.Second/time.Duration(rate))); n++ {
			all.Go(func() { do(n) })
		}
	})
}

// due waits until a moment. It is false once ctx has ended.
func due(ctx context.Context, at time.Time) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// awaitAcknowledged waits until no event waits for a handler or its ack.
func awaitAcknowledged(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	testserver.Eventually(t, 30*time.Second, func() bool {
		cons, err := js.Consumer(t.Context(), "EVENTS", "billing_test-numbered-v1")
		if err != nil {
			return false
		}
		info := cons.CachedInfo()
		return info.NumPending == 0 && info.NumAckPending == 0
	}, "events wait for an acknowledgement")
}
