package publish_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/publish"
)

// tick is the event of the fault tests: the Nth of its key by its publisher.
type tick struct {
	Publisher int    `json:"publisher"`
	Key       string `json:"key"`
	N         int    `json:"n"`
}

func (tick) EventType() string  { return "test.tick.v1" }
func (t tick) EventKey() string { return t.Key }

// lane is what has an order: one key of one publisher.
func (t tick) lane() string { return strconv.Itoa(t.Publisher) + "/" + t.Key }

// ledger is what publishers were told, to be compared with what the stream
// holds. It knows nothing of how publishing works.
type ledger struct {
	mu       sync.Mutex
	outcomes map[tick]outcome
	acked    int
}

type outcome struct {
	sequence uint64
	err      error
}

func newLedger() *ledger { return &ledger{outcomes: make(map[tick]outcome)} }

func (l *ledger) record(t tick, sequence uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes[t] = outcome{sequence, err}
	if err == nil {
		l.acked++
	}
}

func (l *ledger) ackedSoFar() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// findings is what an inspection saw.
type findings struct {
	stored                             int
	acked, rejected, notSent, unknown  int
	lost, repeated, wrongSequence      int
	disordered, storedAgainstWord, odd int
	examples                           []string
}

func (f *findings) note(n *int, format string, args ...any) {
	*n++
	if len(f.examples) < 10 {
		f.examples = append(f.examples, fmt.Sprintf(format, args...))
	}
}

// broken counts what breaks a promise.
func (f *findings) broken() int {
	return f.lost + f.repeated + f.wrongSequence + f.disordered + f.storedAgainstWord + f.odd
}

// inspect reads the whole stream and compares it with the ledger.
func (l *ledger) inspect(tb testing.TB, js jetstream.JetStream) *findings {
	tb.Helper()
	stored := readTicks(tb, js)
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &findings{}
	seen := make(map[tick]uint64)
	last := make(map[string]int)
	for _, s := range stored {
		f.stored++
		if at, ok := seen[s.tick]; ok {
			f.note(&f.repeated, "%+v stored at %d and %d", s.tick, at, s.sequence)
			continue
		}
		seen[s.tick] = s.sequence
		o, known := l.outcomes[s.tick]
		switch {
		case !known:
			f.note(&f.odd, "%+v stored at %d, never published", s.tick, s.sequence)
		case o.err != nil:
			if !errors.Is(o.err, publish.ErrUnknown) {
				f.note(&f.storedAgainstWord, "%+v stored at %d, its publisher was told %v", s.tick, s.sequence, o.err)
			}
			continue // no promise about its place
		case o.sequence != s.sequence:
			f.note(&f.wrongSequence, "%+v acknowledged at %d, stored at %d", s.tick, o.sequence, s.sequence)
		}
		if s.N <= last[s.lane()] {
			f.note(&f.disordered, "%+v stored at %d, after number %d", s.tick, s.sequence, last[s.lane()])
		}
		last[s.lane()] = s.N
	}
	for t, o := range l.outcomes {
		switch {
		case o.err == nil:
			f.acked++
			if _, ok := seen[t]; !ok {
				f.note(&f.lost, "%+v acknowledged at %d, not stored", t, o.sequence)
			}
		case errors.Is(o.err, publish.ErrRejected):
			f.rejected++
		case errors.Is(o.err, publish.ErrNotSent):
			f.notSent++
		case errors.Is(o.err, publish.ErrUnknown):
			f.unknown++
		default:
			f.note(&f.odd, "%+v: error without a kind: %v", t, o.err)
		}
	}
	return f
}

type storedTick struct {
	tick
	sequence uint64
}

// readTicks reads the stream with a consumer of its own, in the order stored.
func readTicks(tb testing.TB, js jetstream.JetStream) []storedTick {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	s, err := js.Stream(ctx, "EVENTS")
	if err != nil {
		tb.Fatalf("look up stream: %v", err)
	}
	state := s.CachedInfo().State
	cons, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		tb.Fatalf("consumer: %v", err)
	}
	out := make([]storedTick, 0, state.Msgs)
	for uint64(len(out)) < state.Msgs {
		batch, err := cons.Fetch(int(min(state.Msgs-uint64(len(out)), 1000)), jetstream.FetchMaxWait(5*time.Second))
		if err != nil && ctx.Err() == nil {
			continue // a server was taken away: the next fetch begins with a new consumer
		}
		if err != nil {
			tb.Fatalf("fetch: %v", err)
		}
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				tb.Fatal(err)
			}
			st := storedTick{sequence: meta.Sequence.Stream}
			if err := json.Unmarshal(m.Data(), &st.tick); err != nil {
				tb.Fatalf("message %d: %v", st.sequence, err)
			}
			out = append(out, st)
		}
		if ctx.Err() != nil && uint64(len(out)) < state.Msgs {
			tb.Fatalf("read %d of %d messages, then nothing: %v", len(out), state.Msgs, batch.Error())
		}
	}
	return out
}

func newPublisher(tb testing.TB, js jetstream.JetStream, cfg publish.Config) *publish.Publisher {
	tb.Helper()
	if cfg.Source == "" {
		cfg.Source = "/test"
	}
	pub, err := publish.New(js, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := pub.Close(ctx); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return pub
}
