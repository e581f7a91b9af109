package testserver

import (
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func portURL(port int) string {
	return "nats://" + net.JoinHostPort(loopback, strconv.Itoa(port))
}

// clientOptions are those of a patient client: tests take servers away and
// expect the connection to be there when they come back.
func clientOptions(more ...[]nats.Option) []nats.Option {
	all := []nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectWait(20 * time.Millisecond),
		nats.ReconnectJitter(0, 0),
		nats.Timeout(5 * time.Second),
	}
	for _, opts := range more {
		all = append(all, opts...)
	}
	return all
}

// clients are the connections that were made to one server, cluster or proxy.
type clients struct {
	mu    sync.Mutex
	conns []*nats.Conn
}

// dial connects to urls, closed when the test ends.
func (c *clients) dial(tb testing.TB, urls string, opts ...[]nats.Option) *nats.Conn {
	tb.Helper()
	nc, err := nats.Connect(urls, clientOptions(opts...)...)
	return c.connected(tb, nc, err)
}

// connected has nc closed when the test ends.
func (c *clients) connected(tb testing.TB, nc *nats.Conn, err error) *nats.Conn {
	tb.Helper()
	if err != nil {
		tb.Fatalf("testserver: connect: %v", err)
	}
	tb.Cleanup(nc.Close)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, nc)
	return nc
}

// noticeTimeout is when to go on without a client that does not notice that its
// server is gone, such as one that a handler of the test keeps busy.
const noticeTimeout = 2 * time.Second

// watch is called before a server is taken away from its clients. It returns a
// function that waits until all of them have noticed: before that a client says
// that it is connected, and a test that then waits for it to reconnect goes on
// at once and loses its next request.
func (c *clients) watch(affected func(*nats.Conn) bool) (wait func()) {
	reconnects := make(map[*nats.Conn]uint64)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, nc := range c.conns {
		if affected(nc) {
			reconnects[nc] = nc.Stats().Reconnects
		}
	}
	return func() {
		timeout := time.NewTimer(noticeTimeout)
		defer timeout.Stop()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for nc, before := range reconnects {
			for nc.IsConnected() && nc.Stats().Reconnects == before {
				select {
				case <-tick.C:
				case <-timeout.C:
					return
				}
			}
		}
	}
}

func newJetStream(tb testing.TB, nc *nats.Conn) jetstream.JetStream {
	tb.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatalf("testserver: jetstream: %v", err)
	}
	return js
}
