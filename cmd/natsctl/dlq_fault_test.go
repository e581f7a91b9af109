package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/deadletter"
	"github.com/agner-go/agner/pkg/envelope"
)

// runs counts the runs of a group's handler, by event id.
type runs struct {
	mu     sync.Mutex
	good   map[string]int
	failed atomic.Int64
	broken atomic.Bool
}

func (r *runs) handle(_ context.Context, e envelope.Raw) error {
	if r.broken.Load() {
		r.failed.Add(1)
		return errors.New("broken")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.good[e.ID]++
	return nil
}

// each tells whether every event had exactly one success.
func (r *runs) each(n int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range n {
		if got := r.good[strconv.Itoa(i)]; got != 1 {
			return fmt.Errorf("event %d had %d successes, and %d of %d events had any", i, got, len(r.good), n)
		}
	}
	return nil
}

func subscribeGroup(t *testing.T, js jetstream.JetStream, name string, broken bool) *runs {
	t.Helper()
	r := &runs{good: map[string]int{}}
	r.broken.Store(broken)
	c, err := consume.New(js, consume.Config{Group: name, MaxAttempts: 1, Logger: slog.New(slog.DiscardHandler)},
		consume.OnEvent(orderPlaced{}.EventType(), r.handle))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("group %s: %v", name, err)
		}
	})
	return r
}

// A replay of many letters, killed again and again at random and run again: each
// event has one success in its subscription, and the other groups see nothing.
// AGNER_REPLAY_FAULTS=10000 is the long form, with five kills.
func TestReplayFaults(t *testing.T) {
	t.Parallel()
	n, kills, limit := 400, 2, time.Minute
	if v := os.Getenv("AGNER_REPLAY_FAULTS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
		kills, limit = 5, 5*time.Minute
	}
	seed := rand.Uint64()
	t.Logf("%d letters, seed %d", n, seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	s := testserver.Start(t, testserver.Listen())
	js := s.JetStream(t)
	billing, audit := subscribeGroup(t, js, "billing", true), subscribeGroup(t, js, "audit", true)
	notify := subscribeGroup(t, js, "notify", false)
	placeOrders(t, js, n)
	testserver.Eventually(t, limit, func() error { return notify.each(n) }, "the healthy group handles all")
	testserver.Eventually(t, limit, func() error { return letters(t, js, 2*n) }, "both broken groups give all up")
	others := sequences(t, js, "audit")
	auditRuns := audit.failed.Load()
	billing.broken.Store(false)

	began, killed := time.Now(), 0
	for killed < kills {
		// Somewhere in what this kill's share of the letters is.
		least := n - n*(killed+1)/(kills+1) + rng.IntN(max(n/(2*(kills+1)), 1))
		if !killReplay(t, s.URL(), js, n+least, time.Duration(rng.Int64N(int64(2*time.Millisecond)))) {
			t.Fatalf("the replay came to its end before kill %d", killed+1)
		}
		killed++
	}
	var out bytes.Buffer
	if err := replayCommand(s.URL(), &out).Run(); err != nil {
		t.Fatalf("last replay: %v\n%s", err, out.String())
	}
	t.Logf("%d kills, all replayed after %s: %s", killed, time.Since(began).Round(time.Millisecond), out.String())
	testserver.Eventually(t, limit, func() error { return billing.each(n) }, "each event has one success")
	testserver.Eventually(t, limit, func() error { return laneEmpty(t, js) }, "the lane is empty")
	for name, err := range map[string]error{
		"billing": billing.each(n), "notify": notify.each(n), "letters": letters(t, js, n),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := sequences(t, js, "audit"); fmt.Sprint(got) != fmt.Sprint(others) || audit.failed.Load() != auditRuns {
		t.Errorf("the neighbour has %d letters of %d, and %d runs of %d", len(got), len(others), audit.failed.Load(), auditRuns)
	}
}

func placeOrders(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	testserver.Eventually(t, patience, func() error {
		_, err := js.Stream(t.Context(), "EVENTS")
		return err
	}, "the groups make the stream")
	for i := range n {
		m, err := envelope.Marshal(&envelope.Raw{
			Attributes: envelope.Attributes{ID: strconv.Itoa(i), Source: "/test", Type: orderPlaced{}.EventType(), DataContentType: "application/json"},
			Data:       []byte(`{"order_id":"o"}`),
		})
		if err != nil {
			t.Fatal(err)
		}
		m.Subject = "events." + orderPlaced{}.EventType() + ".k" + strconv.Itoa(i%100)
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(patience)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(patience):
		t.Fatal("events were not stored")
	}
}

// letters reports an error unless DEAD holds n messages.
func letters(t *testing.T, js jetstream.JetStream, n int) error {
	t.Helper()
	dead, err := js.Stream(t.Context(), "DEAD")
	if err == nil && dead.CachedInfo().State.Msgs != uint64(n) {
		err = fmt.Errorf("DEAD holds %d letters, want %d", dead.CachedInfo().State.Msgs, n)
	}
	return err
}

func laneEmpty(t *testing.T, js jetstream.JetStream) error {
	t.Helper()
	lane, err := js.Stream(t.Context(), "RETRY_billing")
	if err == nil && lane.CachedInfo().State.Msgs != 0 {
		err = fmt.Errorf("the lane holds %d messages", lane.CachedInfo().State.Msgs)
	}
	return err
}

func sequences(t *testing.T, js jetstream.JetStream, group string) []uint64 {
	t.Helper()
	c, err := deadletter.New(js, deadletter.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var out []uint64
	for l, err := range c.List(t.Context(), deadletter.Filter{Group: group}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, l.Sequence)
	}
	return out
}

func replayCommand(url string, out io.Writer) *exec.Cmd {
	cmd := exec.Command("natsctl", "dlq", "replay", "--group", "billing", "--yes", "-o", "json", "--server", url)
	cmd.Stdout, cmd.Stderr = out, out
	return cmd
}

// killReplay starts a replay and kills it a moment after DEAD holds no more than
// so many letters. It returns false if the replay ended by itself.
func killReplay(t *testing.T, url string, js jetstream.JetStream, least int, moment time.Duration) bool {
	t.Helper()
	var out bytes.Buffer
	cmd := replayCommand(url, &out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dead, err := js.Stream(t.Context(), "DEAD")
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(patience); ; <-tick.C {
		info, err := dead.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Msgs <= uint64(least) {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("the replay stands still at %d letters: %s", info.State.Msgs, out.String())
		}
	}
	<-time.After(moment)
	killErr := cmd.Process.Kill()
	return cmd.Wait() != nil && killErr == nil
}
