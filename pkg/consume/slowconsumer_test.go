package consume_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// bulk stores n events of 64 KiB each.
func (b *bundle) bulk(t *testing.T, n int) {
	t.Helper()
	note := make([]byte, 64<<10)
	for i := range note {
		note[i] = 'x'
	}
	for i := range n {
		id := strconv.Itoa(i)
		m := message(t, id, orderPlaced{OrderID: "o-" + id})
		m.Data = fmt.Appendf(nil, `{"order_id":"o-%s","note":"%s"}`, id, note)
		if _, err := b.js.PublishMsgAsync(m); err != nil {
			t.Fatal(err)
		}
	}
	<-b.js.PublishAsyncComplete()
}

// Handlers far behind what is published: what has been received is bounded, so
// that no client drops messages as that of a slow consumer, and all are handled
// once.
func TestSlowHandlersAreNoSlowConsumer(t *testing.T) {
	t.Parallel()
	server := testserver.Start(t, testserver.Listen())
	b := &bundle{js: server.JetStream(t)}
	b.streams(t)
	b.bulk(t, 150) // 9 MiB
	var told atomic.Int32
	js := server.JetStream(t, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrSlowConsumer) {
			told.Add(1)
		}
	}))
	cfg := quick()
	cfg.Concurrency, cfg.MaxBuffer = 4, 1<<20
	got := newTally()
	release := make(chan struct{})
	c, _ := start(t, js, cfg, consume.OnEvent("shop.order.placed.v1", func(ctx context.Context, e envelope.Raw) error {
		got.add(e.ID)
		<-release
		return ctx.Err()
	}))
	eventually(t, func() error {
		if n := got.distinct(); n != 4 {
			return fmt.Errorf("%d running", n)
		}
		return nil
	})
	if s := c.Status().Subscriptions[0]; s.Buffered > 64 { // a MiB, and a request's worth over it
		t.Errorf("%d events are buffered", s.Buffered)
	}
	close(release)
	eventually(t, func() error { return errors.Join(got.each(150, 1), b.idle(t, "EVENTS")) })
	if told.Load() != 0 {
		t.Errorf("told %d times of a slow consumer", told.Load())
	}
}

// deafDialer makes connections that nobody reads from while ear is locked.
type deafDialer struct{ ear sync.RWMutex }

// Dial implements nats.CustomDialer.
func (d *deafDialer) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return &deafConn{Conn: c, ear: &d.ear}, err
}

type deafConn struct {
	net.Conn
	ear *sync.RWMutex
}

// Read waits until it may hear.
func (c *deafConn) Read(b []byte) (int, error) {
	c.ear.RLock()
	c.ear.RUnlock() //nolint:staticcheck // nothing to do while it is held: it is a gate
	return c.Conn.Read(b)
}

// A process that does not read, or a network that does not carry: the server
// cuts it off as a slow consumer. It is back by itself, with nothing lost.
func TestCutOffAsSlowConsumer(t *testing.T) {
	t.Parallel()
	server := testserver.Start(t, testserver.Listen(), testserver.Conf("write_deadline: '1s'"))
	b := &bundle{js: server.JetStream(t)}
	b.streams(t)
	dialer := &deafDialer{}
	nc, err := nats.Connect(server.URL(), nats.SetCustomDialer(dialer), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := quick()
	cfg.AckWait, cfg.Concurrency, cfg.MaxBuffer = 2*time.Second, 400, 64<<20 // asks for all at once
	got := newTally()
	// The data stay bytes: decoding 25 MiB is not what is tested.
	start(t, js, cfg, consume.OnEvent("shop.order.placed.v1", func(_ context.Context, e envelope.Raw) error {
		got.add(e.ID)
		return nil
	}))
	eventually(t, func() error {
		d, err := b.js.Consumer(t.Context(), "EVENTS", durableName)
		if err == nil && d.CachedInfo().NumWaiting == 0 {
			err = errors.New("it has not asked for events yet")
		}
		return err
	})
	before := js.Conn().Stats().Reconnects
	dialer.ear.Lock()
	b.bulk(t, 400) // 25 MiB: more than the sockets on the way hold
	eventually(t, func() error {
		if n := server.NATS().NumSlowConsumers(); n == 0 {
			return errors.New("the server has cut off nobody")
		}
		return nil
	})
	began := time.Now()
	dialer.ear.Unlock()
	eventually(t, func() error {
		if n := got.distinct(); n != 400 {
			return fmt.Errorf("%d events", n)
		}
		return b.idle(t, "EVENTS")
	})
	t.Logf("handled %s after the cut, %d reconnects, %d runs more than events", time.Since(began), js.Conn().Stats().Reconnects-before, got.extra())
}
