package consume_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

const wait = 20 * time.Second

type orderPlaced struct {
	OrderID string `json:"order_id"`
	Cents   int64  `json:"cents"`
}

func (orderPlaced) EventType() string  { return "shop.order.placed.v1" }
func (e orderPlaced) EventKey() string { return e.OrderID }

const durableName = "billing_shop-order-placed-v1"

// bundle is one server with what a test of this package needs.
type bundle struct {
	js jetstream.JetStream
}

func setup(t *testing.T) *bundle {
	t.Helper()
	return &bundle{js: testserver.Start(t).JetStream(t)}
}

// streams makes the streams before any consumer does, so that events can be
// stored first.
func (b *bundle) streams(t *testing.T) {
	t.Helper()
	p := &stream.Provisioner{JS: b.js, Logger: slog.New(slog.DiscardHandler)}
	if err := p.Ensure(t.Context(), stream.Scheduled(""), stream.Events(""), stream.Dead("")); err != nil {
		t.Fatal(err)
	}
}

func message(t *testing.T, id string, payload orderPlaced) *nats.Msg {
	t.Helper()
	data, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	m, err := envelope.Marshal(&envelope.Raw{
		Attributes: envelope.Attributes{
			ID: id, Source: "/test", Type: payload.EventType(), Key: payload.OrderID,
			DataContentType: "application/json",
		},
		Data: data,
	})
	if err != nil {
		t.Fatal(err)
	}
	if m.Subject, err = subject.Namespace("").Event(payload.EventType(), payload.OrderID); err != nil {
		t.Fatal(err)
	}
	return m
}

// place stores n events with ids "0" to n-1.
func (b *bundle) place(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		id := strconv.Itoa(i)
		if _, err := b.js.PublishMsgAsync(message(t, id, orderPlaced{OrderID: "o-" + id, Cents: int64(i)})); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-b.js.PublishAsyncComplete():
	case <-time.After(wait):
		t.Fatal("events were not stored")
	}
}

func quick() consume.Config {
	return consume.Config{
		Group: "billing", AckWait: 5 * time.Second, FirstDelay: 20 * time.Millisecond,
		DrainTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler),
	}
}

// start runs a consumer until the test, or stop, ends it.
func start(t *testing.T, js jetstream.JetStream, cfg consume.Config, subs ...consume.Subscription) (c *consume.Consumer, stop func() error) {
	t.Helper()
	c, err := consume.New(js, cfg, subs...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // it outlives the test's own until cleanup
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(wait):
			return errors.New("Run did not return")
		}
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return c, stop
}

// tally counts runs of a handler by event id.
type tally struct {
	mu   sync.Mutex
	runs map[string]int
	at   map[string][]time.Time
}

func newTally() *tally { return &tally{runs: map[string]int{}, at: map[string][]time.Time{}} }

func (c *tally) add(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs[id]++
	c.at[id] = append(c.at[id], time.Now())
	return c.runs[id]
}

// of is how often an event ran.
func (c *tally) of(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.runs[id]
}

// extra is how many runs there were beyond one of each event.
func (c *tally) extra() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := -len(c.runs)
	for _, runs := range c.runs {
		n += runs
	}
	return n
}

func (c *tally) distinct() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.runs)
}

func (c *tally) each(n, times int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range n {
		if got := c.runs[strconv.Itoa(i)]; got != times {
			return fmt.Errorf("event %d ran %d times, want %d", i, got, times)
		}
	}
	if len(c.runs) != n {
		return fmt.Errorf("%d events ran, want %d", len(c.runs), n)
	}
	return nil
}

// idle reports an error while the durable on a stream still owes something.
func (b *bundle) idle(t *testing.T, streamName string) error {
	t.Helper()
	c, err := b.js.Consumer(t.Context(), streamName, durableName)
	if err != nil {
		return err
	}
	if i := c.CachedInfo(); i.NumPending != 0 || i.NumAckPending != 0 {
		return fmt.Errorf("%s: %d waiting, %d unacknowledged", streamName, i.NumPending, i.NumAckPending)
	}
	return nil
}

// dead reads all dead letters.
func (b *bundle) dead(t *testing.T) []*jetstream.RawStreamMsg {
	t.Helper()
	s, err := b.js.Stream(t.Context(), "DEAD")
	if err != nil {
		t.Fatal(err)
	}
	var out []*jetstream.RawStreamMsg
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

func eventually(t *testing.T, cond func() error) {
	t.Helper()
	testserver.Eventually(t, wait, cond, "condition did not come true")
}
