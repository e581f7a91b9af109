package presence_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/presence"
	"github.com/agner-go/agner/internal/testserver"
)

// seen is what a watcher was told, with when.
type seen struct {
	mu      sync.Mutex
	changes []presence.Change
	at      []time.Time
	err     error
}

// watch watches the keys of s until the test ends.
func watch(t *testing.T, b *presence.Bucket, known ...presence.Entry) *seen {
	t.Helper()
	w := &seen{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c, err := range b.Watch(ctx, "s.*", known...) {
			w.mu.Lock()
			w.changes, w.at, w.err = append(w.changes, c), append(w.at, time.Now()), err
			w.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

// texts are the changes in short form.
func (w *seen) texts() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, c := range w.changes {
		s := fmt.Sprintf("%s %s=%s", c.Kind, c.Entry.Key, c.Entry.Value)
		if c.Kind == presence.Down {
			s += " " + string(c.Reason)
		}
		all = append(all, s)
	}
	return all
}

func (w *seen) wait(t *testing.T, within time.Duration, want ...string) {
	t.Helper()
	testserver.Eventually(t, within, func() error {
		if got := w.texts(); !slices.Equal(got, want) {
			return fmt.Errorf("told %q, want %q", got, want)
		}
		return nil
	}, "changes")
}

func (w *seen) last() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at[len(w.at)-1]
}

// TestWatch sees each way in which a holder comes and goes, and when.
func TestWatch(t *testing.T) {
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
		t.Helper()
		b, other := open(t, s), open(t, s)
		a := claim(t, b, "s.a", "1")
		w := watch(t, other)
		w.wait(t, time.Second, "up s.a=1")
		claim(t, b, "t.z", "another service")

		began := time.Now()
		if err := a.Renew(t.Context(), []byte("2")); err != nil {
			t.Fatal(err)
		}
		w.wait(t, time.Second, "up s.a=1", "changed s.a=2")
		bye := claim(t, b, "s.b", "1")
		w.wait(t, time.Second, "up s.a=1", "changed s.a=2", "up s.b=1")
		if took := w.last().Sub(began); took > 200*time.Millisecond {
			t.Errorf("told after %s", took)
		}
		began = time.Now()
		if err := bye.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.wait(t, time.Second, "up s.a=1", "changed s.a=2", "up s.b=1", "down s.b=1 goodbye")
		if took := w.last().Sub(began); took > 200*time.Millisecond {
			t.Errorf("goodbye told after %s", took)
		}
		began = time.Now()
		if _, _, err := b.Seize(t.Context(), "s.a", []byte("3")); err != nil {
			t.Fatal(err)
		}
		w.wait(t, time.Second, "up s.a=1", "changed s.a=2", "up s.b=1", "down s.b=1 goodbye", "down s.a=2 replaced", "up s.a=3")
		w.wait(t, time.Minute, "up s.a=1", "changed s.a=2", "up s.b=1", "down s.b=1 goodbye", "down s.a=2 replaced", "up s.a=3",
			"down s.a=3 expired")
		if took := w.last().Sub(began); took < presence.DefaultTTL || took > presence.DefaultTTL+time.Second {
			t.Errorf("expiry told after %s", took)
		}
		after(t, time.Minute)
		if got := w.texts(); len(got) != 7 {
			t.Errorf("told %q", got)
		}
	})
}

// TestWatchWasAway begins with what it knew before: what has become of that is
// told, and nothing else that it missed.
func TestWatchWasAway(t *testing.T) {
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
		t.Helper()
		b := open(t, s)
		var known []presence.Entry
		for _, key := range []string{"s.lapsed", "s.left", "s.same", "s.seized", "s.old"} {
			l := claim(t, b, key, "1")
			known = append(known, state(t, b, key))
			switch key {
			case "s.left":
				if err := l.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
			case "s.seized", "s.same":
				keep(t, b, l)
			}
		}
		after(t, 11*time.Minute) // s.old and s.left are forgotten
		l := claim(t, b, "s.lapsed", "2")
		known[0] = state(t, b, "s.lapsed")
		_ = l
		after(t, 5*time.Second)
		if _, _, err := b.Seize(t.Context(), "s.seized", []byte("2")); err != nil {
			t.Fatal(err)
		}
		w := watch(t, b, known...)
		after(t, 10*time.Second)
		got := w.texts()
		slices.Sort(got)
		want := []string{
			"down s.lapsed=2 expired", "down s.left=1 unknown", "down s.old=1 unknown",
			"down s.seized=1 replaced", "down s.seized=2 expired", "up s.seized=2",
		}
		if !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// keep renews a lease until the test ends or the lease is lost.
func keep(t *testing.T, b *presence.Bucket, l *presence.Lease) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(b.TTL() / 2)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if l.Renew(ctx, []byte("1")) != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// keeper is a Keeper that runs in a test.
type keeper struct {
	mu      sync.Mutex
	reports []presence.Report
	stop    func()
	pause   chan time.Duration // how long the next Value takes: the process is paused
}

func runKeeper(t *testing.T, b *presence.Bucket, key string) *keeper {
	t.Helper()
	k := &keeper{pause: make(chan time.Duration, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	p := &presence.Keeper{
		Key: key, Open: func(context.Context) (*presence.Bucket, error) { return b, nil },
		Value: func() []byte {
			select {
			case d := <-k.pause:
				after(t, d)
			default:
			}
			return []byte("v")
		},
		Tell: func(r presence.Report) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.reports = append(k.reports, r)
		},
	}
	go func() {
		defer close(done)
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	k.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(k.stop)
	return k
}

func (k *keeper) kinds() (all []presence.ReportKind) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.reports {
		all = append(all, r.Kind)
	}
	return all
}

func (k *keeper) want(t *testing.T, want ...presence.ReportKind) {
	t.Helper()
	if got := k.kinds(); !slices.Equal(got, want) {
		t.Errorf("the keeper reports %v, want %v: %+v", got, want, k.reports)
	}
}

// TestKeeper keeps an entry over ten minutes, is paused and learns of it, and
// says goodbye.
func TestKeeper(t *testing.T) {
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
		t.Helper()
		w := watch(t, open(t, s))
		k := runKeeper(t, open(t, s), "s.a")
		after(t, 10*time.Minute)
		w.wait(t, time.Second, "up s.a=v")
		k.want(t, presence.Registered)

		k.pause <- 10 * time.Second
		after(t, 13*time.Second)
		w.wait(t, time.Second, "up s.a=v", "down s.a=v expired", "up s.a=v")
		k.want(t, presence.Registered, presence.Returned)
		if k.reports[1].Lease == k.reports[0].Lease {
			t.Error("returned under the lease that was declared down")
		}

		k.stop()
		synctest.Wait()
		w.wait(t, time.Second, "up s.a=v", "down s.a=v expired", "up s.a=v", "down s.a=v goodbye")
	})
}

// TestKeeperTwice lets two processes claim one name: the later one has it, the
// earlier one stands aside until it is free.
func TestKeeperTwice(t *testing.T) {
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
		t.Helper()
		first := runKeeper(t, open(t, s), "s.a")
		after(t, 10*time.Second)
		second := runKeeper(t, open(t, s), "s.a")
		after(t, 10*time.Second)
		first.want(t, presence.Registered, presence.Replaced)
		second.want(t, presence.Registered)
		if second.reports[0].Before.Lease != first.reports[0].Lease {
			t.Errorf("%+v", second.reports[0])
		}
		second.stop()
		after(t, 10*time.Second)
		first.want(t, presence.Registered, presence.Replaced, presence.Registered)
	})
}

// TestOutage takes the server away for longer than the TTL: all entries expire,
// and nobody is declared down.
func TestOutage(t *testing.T) {
	for _, away := range []time.Duration{time.Second, 5 * time.Second, 40 * time.Second} {
		t.Run(away.String(), func(t *testing.T) {
			testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
				t.Helper()
				w := watch(t, open(t, s))
				keepers := []*keeper{runKeeper(t, open(t, s), "s.a"), runKeeper(t, open(t, s), "s.b")}
				after(t, 10*time.Second)
				s.Shutdown()
				after(t, away)
				s.Restart(t)
				after(t, time.Minute)
				got := w.texts()
				slices.Sort(got)
				if !slices.Equal(got, []string{"up s.a=v", "up s.b=v"}) {
					t.Errorf("told %q", got)
				}
				for _, k := range keepers {
					// The server looks for what has expired only some time after
					// it is back.
					kinds := k.kinds()
					if len(kinds) > 2 && kinds[2] == presence.Resumed {
						kinds[2] = presence.Recovered
					}
					if !slices.Equal(kinds, []presence.ReportKind{presence.Registered, presence.Failing, presence.Recovered}) {
						t.Errorf("the keeper reports %v", kinds)
					}
				}
			})
		})
	}
}

// TestRefusedRenewals lets an entry expire although its holder is heard all the
// time, as it is while a stream has no leader. A read that falls into the
// moment before the holder takes it again draws no quick conclusion.
func TestRefusedRenewals(t *testing.T) {
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
		t.Helper()
		b := open(t, s)
		l := claim(t, b, "s.a", "1")
		w := watch(t, open(t, s))
		w.wait(t, time.Second, "up s.a=1")
		js := s.JetStream(t)
		refused := func(value string) {
			m := &nats.Msg{Subject: "$KV.LEASES.s.a", Header: nats.Header{"Agner-Lease": {l.ID()}}, Data: []byte(value)}
			if _, err := js.PublishMsg(t.Context(), m, jetstream.WithExpectLastSequencePerSubject(99)); err == nil {
				t.Fatal("the write was not refused")
			}
		}
		for range 17 { // until 3.4 s
			after(t, 200*time.Millisecond)
			refused("1")
		}
		if e := state(t, b, "s.a"); e.State != presence.Expired {
			t.Fatalf("%+v", e)
		}
		refused("2") // is read at once
		began := time.Now()
		w.wait(t, time.Minute, "up s.a=1", "down s.a=1 expired")
		if took := w.last().Sub(began); took < presence.DefaultTTL || took > 3*presence.DefaultTTL {
			t.Errorf("told after %s", took)
		}
	})
}
