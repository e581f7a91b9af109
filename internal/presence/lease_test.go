package presence_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/presence"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/testserver"
)

// connector is what servers of all kinds have.
type connector interface {
	JetStream(tb testing.TB, opts ...nats.Option) jetstream.JetStream
}

func open(t *testing.T, s connector) *presence.Bucket {
	t.Helper()
	b, err := presence.Open(t.Context(), s.JetStream(t), presence.Config{Name: "LEASES"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func claim(t *testing.T, b *presence.Bucket, key, value string) *presence.Lease {
	t.Helper()
	l, err := b.Claim(t.Context(), key, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func state(t *testing.T, b *presence.Bucket, key string) presence.Entry {
	t.Helper()
	e, err := b.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// after lets fake time pass.
func after(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// TestLeaseLife follows one key through claims, renewals, an expiry, another
// holder and a goodbye, in fake time.
func TestLeaseLife(t *testing.T) {
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
		t.Helper()
		b, other := open(t, s), open(t, s)
		first := claim(t, b, "shop.a", "one")
		var held *presence.HeldError
		if _, err := other.Claim(t.Context(), "shop.a", nil); !errors.Is(err, presence.ErrHeld) || !errors.As(err, &held) {
			t.Fatalf("second claim: %v", err)
		}
		if held.By.Lease != first.ID() || string(held.By.Value) != "one" {
			t.Errorf("held by %+v", held.By)
		}
		for i := range 10 { // 15 s, five times the TTL
			after(t, presence.DefaultTTL/2)
			if err := first.Renew(t.Context(), []byte(strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
		}
		if got := state(t, other, "shop.a"); string(got.Value) != "9" || got.Revision != first.Revision() {
			t.Errorf("after renewals: %+v", got)
		}
		if left := time.Until(first.Expires()); left <= 2*time.Second || left > presence.DefaultTTL {
			t.Errorf("expires in %s", left)
		}

		began := time.Now()
		testserver.Eventually(t, time.Minute, func() bool { return state(t, b, "shop.a").State == presence.Expired }, "expiry")
		if took := time.Since(began); took < presence.DefaultTTL || took > presence.DefaultTTL+300*time.Millisecond {
			t.Errorf("expired after %s", took)
		}

		second := claim(t, other, "shop.a", "two")
		var lost *presence.LostError
		if err := first.Renew(t.Context(), nil); !errors.Is(err, presence.ErrLost) || !errors.As(err, &lost) {
			t.Fatalf("renewal of a lease that expired: %v", err)
		}
		if lost.Now.Lease != second.ID() {
			t.Errorf("lost to %+v", lost.Now)
		}
		if err := first.Release(t.Context()); !errors.Is(err, presence.ErrLost) {
			t.Errorf("goodbye of a lease that expired: %v", err)
		}
		for range 2 {
			if err := second.Release(t.Context()); err != nil && !errors.Is(err, presence.ErrLost) {
				t.Fatal(err)
			}
		}
		if got := state(t, b, "shop.a"); got.State != presence.Released || got.Lease != second.ID() {
			t.Errorf("after the goodbye: %+v", got)
		}
		if err := second.Renew(t.Context(), nil); !errors.Is(err, presence.ErrLost) {
			t.Errorf("renewal of a released lease: %v", err)
		}

		after(t, stream.MarkerTTL+time.Minute)
		if got := state(t, b, "shop.a"); got.State != presence.Absent {
			t.Errorf("long after the goodbye: %+v", got)
		}
		claim(t, b, "shop.a", "three")
		if e := state(t, b, "shop.a"); e.Revision <= second.Revision() {
			t.Errorf("revision %d after %d", e.Revision, second.Revision())
		}
	})
}

// TestSeize takes a key from a holder that lives: the holder learns who has it.
func TestSeize(t *testing.T) {
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
		t.Helper()
		b := open(t, s)
		old := claim(t, b, "k", "old")
		l, before, err := b.Seize(t.Context(), "k", []byte("new"))
		if err != nil || before.Lease != old.ID() || before.State != presence.Held {
			t.Fatalf("seize: %+v, %v", before, err)
		}
		var lost *presence.LostError
		if err := old.Renew(t.Context(), nil); !errors.As(err, &lost) || lost.Now.Lease != l.ID() || string(lost.Now.Value) != "new" {
			t.Errorf("renewal: %v", err)
		}
		if _, before, err = b.Seize(t.Context(), "free", nil); err != nil || before.State != presence.Absent {
			t.Errorf("seize of a free key: %+v, %v", before, err)
		}
	})
}

// TestResume brings a lease back that expired while nobody could renew it, and
// says for how long its key was free.
func TestResume(t *testing.T) {
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
		t.Helper()
		b := open(t, s)
		l := claim(t, b, "k", "v")
		after(t, 5*time.Second)
		var lost *presence.LostError
		if err := l.Renew(t.Context(), nil); !errors.As(err, &lost) || lost.Now.State != presence.Expired {
			t.Fatalf("renewal: %v", err)
		}
		free, err := l.Resume(t.Context(), lost.Now, []byte("back"))
		if err != nil || free < 1500*time.Millisecond || free > 2*time.Second {
			t.Errorf("free for %s, %v", free, err)
		}
		if err := l.Renew(t.Context(), []byte("again")); err != nil {
			t.Error(err)
		}
		after(t, 5*time.Second)
		if err := l.Renew(t.Context(), nil); !errors.As(err, &lost) {
			t.Fatalf("renewal: %v", err)
		}
		claim(t, b, "k", "neighbour")
		if _, err := l.Resume(t.Context(), lost.Now, nil); !errors.Is(err, presence.ErrLost) {
			t.Errorf("resumed over another holder: %v", err)
		}
	})
}

// TestRenewalWithoutAnswer loses the answers of writes that were stored: the
// holder must find itself, and not a stranger.
func TestRenewalWithoutAnswer(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Listen())
	p := testserver.StartProxy(t, s.URL())
	b := open(t, p)
	losing := func(op func(context.Context) error) error {
		p.Inject(testserver.Fault{Match: testserver.Answered("$KV.>"), Nth: 1})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		return op(ctx)
	}
	l := claim(t, b, "k", "1")
	if err := losing(func(ctx context.Context) error { return l.Renew(ctx, []byte("2")) }); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("renewal without an answer: %v", err)
	}
	if err := l.Renew(t.Context(), []byte("3")); err != nil {
		t.Fatal(err)
	}
	if got := state(t, b, "k"); string(got.Value) != "3" || got.Lease != l.ID() {
		t.Errorf("%+v", got)
	}
	if err := losing(l.Release); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("goodbye without an answer: %v", err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Errorf("second goodbye: %v", err)
	}
}

// TestClaimRace has many claim one key at once: one gets it.
func TestClaimRace(t *testing.T) {
	t.Parallel()
	b := open(t, testserver.Start(t))
	for round := range 20 {
		var mu sync.Mutex
		var won, held int
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, err := b.Claim(t.Context(), fmt.Sprintf("k%d", round), nil)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won++
				case errors.Is(err, presence.ErrHeld):
					held++
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won != 1 || held != 7 {
			t.Fatalf("%d won, %d were refused", won, held)
		}
	}
}

// TestList pages through more entries than the server gives at once, and hides
// those that are gone.
func TestList(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t)
	b, err := presence.Open(t.Context(), s.JetStream(t), presence.Config{Name: "LEASES", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := b.List(t.Context(), ">"); err != nil || len(all) != 0 {
		t.Errorf("empty bucket: %v, %v", all, err)
	}
	const n = 2500
	js := s.JetStream(t)
	for i := range n {
		if _, err := js.PublishAsync("$KV.LEASES.shop."+strconv.Itoa(i), []byte("v"), jetstream.WithMsgTTL(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-t.Context().Done():
	}
	gone := claim(t, b, "shop.gone", "x")
	if err := gone.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	claim(t, b, "bank.1", "x")
	for filter, want := range map[string]int{">": n + 1, "shop.*": n, "bank.*": 1, "bank.1": 1, "none.>": 0} {
		got, err := b.List(t.Context(), filter)
		if err != nil || len(got) != want {
			t.Errorf("%s: %d entries, %v, want %d", filter, len(got), err, want)
		}
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t)
	for _, ttl := range []time.Duration{time.Millisecond, 1500 * time.Millisecond, -time.Second} {
		if _, err := presence.Open(t.Context(), s.JetStream(t), presence.Config{Name: "B", TTL: ttl}); !errors.Is(err, presence.ErrTTL) {
			t.Errorf("TTL %s: %v", ttl, err)
		}
	}
	if _, err := presence.Open(t.Context(), s.JetStream(t), presence.Config{Name: "B", Bind: true}); !errors.Is(err, stream.ErrMissing) {
		t.Errorf("missing bucket: %v", err)
	}
	b := open(t, s)
	for _, key := range []string{"", "a..b", ".a", "a.", "a.*", ">", "a b", "a\r\nPUB x 0"} {
		if _, err := b.Claim(t.Context(), key, nil); !errors.Is(err, presence.ErrKey) {
			t.Errorf("claim of %q: %v", key, err)
		}
		if _, err := b.Get(t.Context(), key); !errors.Is(err, presence.ErrKey) {
			t.Errorf("get of %q: %v", key, err)
		}
	}
}
