package testserver

import (
	"net"
	"strconv"
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

// dial connects to urls, closed when the test ends.
func dial(t testing.TB, urls string, opts ...[]nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(urls, clientOptions(opts...)...)
	return connected(t, nc, err)
}

// connected has nc closed when the test ends.
func connected(t testing.TB, nc *nats.Conn, err error) *nats.Conn {
	t.Helper()
	if err != nil {
		t.Fatalf("testserver: connect: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func newJetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatalf("testserver: jetstream: %v", err)
	}
	return js
}
