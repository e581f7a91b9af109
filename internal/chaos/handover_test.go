package chaos_test

import (
	"cmp"
	"context"
	"encoding/json"
	"hash/fnv"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/chaos"
	"github.com/agner-go/agner/internal/testserver"
)

// TestHandOver measures from outside how long an entity pauses when the worker
// that has it stops in order or is killed: by when its outputs stand in EVENTS.
// AGNER_HANDOVER=1 holds the figures to the promise, with a lease of 3 s, on a
// machine that has nothing else to do; the short form is generous.
func TestHandOver(t *testing.T) {
	t.Parallel()
	long := os.Getenv("AGNER_HANDOVER") != ""
	lease, beat, graceful, slack, rounds := time.Second, 400*time.Millisecond, 10*time.Second, 10*time.Second, 1
	if long {
		lease, beat, graceful, slack, rounds = 3*time.Second, 100*time.Millisecond, 500*time.Millisecond, time.Second, 5
	}
	for round := range rounds {
		h := startHandOver(t, lease, beat)
		stopped := h.disturb(t, func() { h.workers[0].Stop() })
		killed := h.disturb(t, func() { h.workers[1].Kill() })
		t.Logf("round %d: in order: %s", round+1, stopped)
		t.Logf("round %d: killed, lease %s: %s", round+1, lease, killed)
		if stopped.moved.most > graceful || len(stopped.moved.all) == 0 {
			t.Errorf("an orderly hand-over of %d partitions took up to %s, want at most %s", len(stopped.moved.all), stopped.moved.most, graceful)
		}
		if killed.moved.most > lease+slack || len(killed.moved.all) == 0 {
			t.Errorf("after a kill %d partitions were away for up to %s, want at most %s", len(killed.moved.all), killed.moved.most, lease+slack)
		}
		if long && max(stopped.stayed.most, killed.stayed.most) > graceful {
			t.Errorf("partitions that did not move paused for %s and %s", stopped.stayed.most, killed.stayed.most)
		}
		h.end()
	}
}

// handOver is one measurement: three workers, and a feed to one key of each
// partition.
type handOver struct {
	js      jetstream.JetStream
	workers []*testserver.Program
	keys    []string // by partition
	end     func()
}

const partitions = 64

func startHandOver(t *testing.T, lease, beat time.Duration) *handOver {
	t.Helper()
	s := testserver.StartChild(t)
	h := &handOver{js: s.JetStream(t), keys: make([]string, partitions)}
	for i, found := 0, 0; found < partitions; i++ {
		f := fnv.New32a()
		_, _ = f.Write([]byte(chaos.KeyOf(i)))
		if p := f.Sum32() % partitions; h.keys[p] == "" {
			h.keys[p] = chaos.KeyOf(i)
			found++
		}
	}
	for i := range 3 {
		h.workers = append(h.workers, chaos.NewWorker(t, chaos.WorkerConfig{
			Name: "worker-" + strconv.Itoa(i), URL: s.URL(), Lease: lease, Keys: 1 << 30, Record: t.TempDir() + "/record",
		}))
		h.workers[i].Start(t)
	}
	ctx, cancel := context.WithCancel(t.Context())
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		chaos.Feed(ctx, t, h.js, h.keys, beat)
	}()
	h.end = func() {
		cancel()
		<-fed
		for _, w := range h.workers {
			w.Kill()
		}
		s.Kill()
	}
	t.Cleanup(h.end)
	// Everything has an owner, and nothing has moved for a while.
	var before map[int]cursor
	since := time.Now()
	testserver.Eventually(t, time.Minute, func() bool {
		now := h.cursors(t)
		if !slices.EqualFunc(keysOf(now), keysOf(before), func(a, b int) bool { return a == b && now[a].Epoch == before[b].Epoch }) {
			before, since = now, time.Now()
		}
		return len(now) == partitions && h.owners(now) == 3 && time.Since(since) > time.Second
	}, "64 partitions owned by three workers")
	return h
}

// cursor is what docs/wire.md says of state.<name>.cur.<partition>.
type cursor struct {
	Owner string `json:"owner"`
	Epoch uint64 `json:"epoch"`
}

func (h *handOver) cursors(t *testing.T) map[int]cursor {
	t.Helper()
	s, err := h.js.Stream(t.Context(), "STATE_accounts")
	if err != nil {
		return nil // not made yet
	}
	out := make(map[int]cursor)
	for p := range partitions {
		m, err := s.GetLastMsgForSubject(t.Context(), "state.accounts.cur."+strconv.Itoa(p))
		if err != nil {
			continue
		}
		var c cursor
		if err := json.Unmarshal(m.Data, &c); err != nil {
			t.Fatal(err)
		}
		out[p] = c
	}
	return out
}

func (h *handOver) owners(cursors map[int]cursor) int {
	seen := make(map[string]bool)
	for _, c := range cursors {
		seen[c.Owner] = true
	}
	return len(seen)
}

func keysOf(m map[int]cursor) []int {
	keys := make([]int, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// pauses are the longest gaps between two outputs, one of each partition.
type pauses struct {
	all          []time.Duration
	median, most time.Duration
}

type outcome struct{ moved, stayed pauses }

func (o outcome) String() string {
	return strconv.Itoa(len(o.moved.all)) + " partitions moved, pause " + o.moved.median.String() + " in the median, " + o.moved.most.String() +
		" at most; " + strconv.Itoa(len(o.stayed.all)) + " stayed, longest gap " + o.stayed.most.String()
}

// disturb does something and returns how long each partition paused for it.
func (h *handOver) disturb(t *testing.T, do func()) outcome {
	t.Helper()
	before := h.cursors(t)
	began := time.Now()
	do()
	var after map[int]cursor
	testserver.Eventually(t, time.Minute, func() bool {
		after = h.cursors(t)
		return h.owners(after) == h.owners(before)-1
	}, "the others own everything")
	// Each key has had an output since.
	settled := time.Now()
	var gaps map[string]time.Duration
	testserver.Eventually(t, time.Minute, func() error {
		var err error
		gaps, err = chaos.Gaps(t.Context(), h.js, h.keys, began.Add(-500*time.Millisecond), settled)
		return err
	}, "outputs of all partitions")
	var o outcome
	for p, key := range h.keys {
		if before[p].Owner != after[p].Owner {
			o.moved.all = append(o.moved.all, gaps[key].Round(time.Millisecond))
		} else if before[p].Epoch == after[p].Epoch {
			o.stayed.all = append(o.stayed.all, gaps[key].Round(time.Millisecond))
		}
	}
	for _, ps := range []*pauses{&o.moved, &o.stayed} {
		slices.SortFunc(ps.all, cmp.Compare)
		if n := len(ps.all); n > 0 {
			ps.median, ps.most = ps.all[n/2], ps.all[n-1]
		}
	}
	return o
}
