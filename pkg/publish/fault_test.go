package publish_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/publish"
)

// faultSeed repeats a run: the faults are chosen by it, though when they strike
// depends on the scheduler too.
var faultSeed = flag.Uint64("publish.seed", 0, "seed of the fault tests, 0 for a new one")

const (
	faultPublishers = 4
	faultKeys       = 100
)

// send publishes one tick in some way and returns how to wait for its result.
type send func(ctx context.Context, t tick) func(ctx context.Context) (uint64, error)

// TestFaults is P1 under faults: four publishers, a hundred keys, each of which
// every publisher uses, through proxies that cut, hold, delay and drop at
// random, while the stream goes away and comes back. AGNER_PUBLISH_FAULTS sets
// how long.
func TestFaults(t *testing.T) {
	t.Parallel()
	w := newFaultWorld(t)
	sends := make([]send, faultPublishers)
	for i := range sends {
		cfg := publish.Config{Provision: new(false), AckTimeout: 150 * time.Millisecond, RetryFor: 20 * time.Second, MaxInFlight: 256}
		if i == 0 {
			// One gives up early, so that there are errors whose kind can be
			// wrong, and events behind those that were given up.
			cfg.RetryFor = 200 * time.Millisecond
		}
		sends[i] = mixed(newPublisher(t, w.proxies[i].JetStream(t), cfg))
	}
	l := w.run(t, sends, faultDuration(t), 0)
	f := l.inspect(t, w.admin)
	t.Logf("seed %d: %+v", w.seed, *f)
	if f.broken() > 0 {
		t.Errorf("seed %d: promises broken: %+v", w.seed, *f)
	}
	if failed := f.unknown + f.rejected + f.notSent; f.acked < 50 || failed == 0 {
		t.Errorf("seed %d: neither all nor none should have succeeded: %+v", w.seed, *f)
	}
}

// TestFaultsHaveTeeth runs the same program with the upstream asynchronous
// publisher, and expects what it is known for: events of a key out of order.
func TestFaultsHaveTeeth(t *testing.T) {
	t.Parallel()
	w := newFaultWorld(t)
	sends := make([]send, faultPublishers)
	for i := range sends {
		js, err := jetstream.New(w.proxies[i].Connect(t), jetstream.WithPublishAsyncMaxPending(256), jetstream.WithPublishAsyncTimeout(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(js.CleanupPublisher)
		sends[i] = upstream(js)
	}
	// Chance decides when, so it may take another round.
	for round := range 10 {
		l := w.run(t, sends, time.Second, round*1_000_000)
		if f := l.inspect(t, w.admin); f.disordered > 0 {
			t.Logf("seed %d: %+v", w.seed, *f)
			return
		}
		if err := w.purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Errorf("seed %d: the upstream publisher kept the order: the faults have no teeth", w.seed)
}

func faultDuration(tb testing.TB) time.Duration {
	tb.Helper()
	text := os.Getenv("AGNER_PUBLISH_FAULTS")
	if text == "" {
		return 2 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		tb.Fatalf("AGNER_PUBLISH_FAULTS: %v", err)
	}
	return d
}

// mixed publishes by turns synchronously and asynchronously.
func mixed(pub *publish.Publisher) send {
	return func(ctx context.Context, t tick) func(context.Context) (uint64, error) {
		if t.N%8 == 0 {
			ack, err := pub.Publish(ctx, t)
			return func(context.Context) (uint64, error) { return ack.Sequence, err }
		}
		f := pub.PublishAsync(ctx, t)
		return func(ctx context.Context) (uint64, error) {
			ack, err := f.Wait(ctx)
			return ack.Sequence, err
		}
	}
}

func upstream(js jetstream.JetStream) send {
	return func(_ context.Context, t tick) func(context.Context) (uint64, error) {
		subject := "events.test.tick.v1." + t.Key
		data := fmt.Appendf(nil, `{"publisher":%d,"key":%q,"n":%d}`, t.Publisher, t.Key, t.N)
		id := fmt.Sprintf("%s-%d", t.lane(), t.N)
		f, err := js.PublishAsync(subject, data, jetstream.WithMsgID(id), jetstream.WithStallWait(5*time.Second))
		return func(ctx context.Context) (uint64, error) {
			if err != nil {
				return 0, errors.Join(publish.ErrUnknown, err)
			}
			select {
			case ack := <-f.Ok():
				return ack.Sequence, nil
			case err := <-f.Err():
				return 0, errors.Join(publish.ErrUnknown, err)
			case <-ctx.Done():
				return 0, errors.Join(publish.ErrUnknown, ctx.Err())
			}
		}
	}
}

// faultWorld is a server with its streams, and a proxy for each publisher.
type faultWorld struct {
	seed    uint64
	rng     *rand.Rand
	server  *testserver.Server
	admin   jetstream.JetStream
	proxies []*testserver.Proxy
}

func newFaultWorld(t *testing.T) *faultWorld {
	t.Helper()
	seed := *faultSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	w := &faultWorld{seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), server: testserver.Start(t, testserver.Listen())}
	w.admin = w.server.JetStream(t)
	for _, shape := range []jetstream.StreamConfig{stream.Scheduled(""), stream.Events("")} {
		if _, err := w.admin.CreateStream(t.Context(), shape); err != nil {
			t.Fatal(err)
		}
	}
	for range faultPublishers {
		p := testserver.StartProxy(t, w.server.URL())
		w.proxies = append(w.proxies, p)
		w.injectMessageFaults(p)
	}
	return w
}

// injectMessageFaults makes the proxy lose and delay single messages.
func (w *faultWorld) injectMessageFaults(p *testserver.Proxy) {
	for _, f := range []struct {
		match func(testserver.Frame) bool
		part  float64
		fault testserver.Fault
	}{
		{testserver.Answered("events.>"), 0.01, testserver.Fault{Action: testserver.Drop}},
		{testserver.Answered("events.>"), 0.01, testserver.Fault{Action: testserver.Delay, Delay: 50 * time.Millisecond}},
		{testserver.Answered("events.>"), 0.005, testserver.Fault{Action: testserver.Delay, Delay: 600 * time.Millisecond}},
		{testserver.Published("events.>"), 0.005, testserver.Fault{Action: testserver.Drop}},
		{testserver.Answered("events.>"), 0.001, testserver.Fault{Action: testserver.CutBefore}},
		{testserver.Published("events.>"), 0.001, testserver.Fault{Action: testserver.CutAfter}},
	} {
		f.fault.Match = w.sometimes(f.match, f.part)
		p.Inject(f.fault)
	}
}

func (w *faultWorld) purge(ctx context.Context) error {
	s, err := w.admin.Stream(ctx, "EVENTS")
	if err != nil {
		return err
	}
	return s.Purge(ctx)
}

// sometimes matches a part of what match does.
func (w *faultWorld) sometimes(match func(testserver.Frame) bool, part float64) func(testserver.Frame) bool {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), 0))
	return func(f testserver.Frame) bool {
		if !match(f) {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		return rng.Float64() < part
	}
}

// run publishes for d while faults strike, and returns what the publishers were
// told. Numbers begin after from, so that no id is used twice.
func (w *faultWorld) run(t *testing.T, sends []send, d time.Duration, from int) *ledger {
	t.Helper()
	l := newLedger()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var faults, publishers sync.WaitGroup
	faults.Go(func() {
		if err := w.strike(ctx, t.Context()); err != nil {
			t.Errorf("strike: %v", err)
		}
	})
	for i, s := range sends {
		for driver := range drivers {
			publishers.Go(func() { drive(ctx, t.Context(), l, tick{Publisher: i, N: from}, driver, s) })
		}
	}
	faults.Wait()
	publishers.Wait()
	return l
}

// drivers is how many goroutines publish with one publisher. Each has keys of
// its own, since there is no order among calls that overlap.
const drivers = 5

// drive is one of them: until ctx ends it goes round its keys, and does not wait
// for results. The publishes have the context of the whole test.
func drive(ctx, whole context.Context, l *ledger, start tick, driver int, s send) {
	var results sync.WaitGroup
	defer results.Wait()
	for i := 0; ctx.Err() == nil; i++ {
		// Three events in a row on one key, then the next key.
		key := (i/3)%(faultKeys/drivers)*drivers + driver
		ev := tick{Publisher: start.Publisher, Key: fmt.Sprintf("k%d", key), N: start.N + i + 1}
		wait := s(whole, ev)
		results.Go(func() {
			sequence, err := wait(whole)
			l.record(ev, sequence, err)
		})
	}
}

// strike cuts and holds connections, and takes the subjects from the stream,
// which makes the server answer that nobody listens, as during an election.
func (w *faultWorld) strike(ctx, whole context.Context) error {
	for {
		pause := time.NewTimer(time.Duration(50+w.rng.IntN(200)) * time.Millisecond)
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
		p := w.proxies[w.rng.IntN(len(w.proxies))]
		switch w.rng.IntN(3) {
		case 0:
			p.Cut()
		case 1:
			p.Hold(true)
			w.wait(time.Duration(10+w.rng.IntN(200)) * time.Millisecond)
			p.Hold(false)
		default:
			if err := w.unsubscribe(whole); err != nil {
				return err
			}
		}
	}
}

func (w *faultWorld) wait(d time.Duration) {
	<-time.NewTimer(d).C
}

func (w *faultWorld) unsubscribe(ctx context.Context) error {
	away := stream.Events("")
	away.Subjects = []string{"relay.>"}
	if _, err := w.admin.UpdateStream(ctx, away); err != nil {
		return err
	}
	w.wait(time.Duration(5+w.rng.IntN(40)) * time.Millisecond)
	_, err := w.admin.UpdateStream(ctx, stream.Events(""))
	return err
}
