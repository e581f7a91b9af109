package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
)

// servers are the one or three servers of a run, each a process of its own.
type servers struct {
	tb       testing.TB
	children []*testserver.Child
	peers    *testserver.Peers // nil for one server
}

func startServers(tb testing.TB, n int) *servers {
	tb.Helper()
	if n == 1 {
		return &servers{tb: tb, children: []*testserver.Child{testserver.StartChild(tb)}}
	}
	c := testserver.StartChildCluster(tb, n)
	return &servers{tb: tb, children: c.Children, peers: &c.Peers}
}

// connect opens a connection of the machine's own, which no fault but that of a
// server disturbs.
func (s *servers) connect(name string) *nats.Conn {
	s.tb.Helper()
	opts := []nats.Option{nats.Name(name), nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2)}
	if s.peers != nil {
		return s.peers.Connect(s.tb, opts...)
	}
	return s.children[0].Connect(s.tb, opts...)
}

// wires are a proxy to each server, for one worker, so that its connection can be
// broken and no other.
type wires []*testserver.Proxy

func (s *servers) wires() wires {
	s.tb.Helper()
	var w wires
	for _, c := range s.children {
		w = append(w, testserver.StartProxy(s.tb, c.URL()))
	}
	return w
}

// url is the address of all proxies. A worker begins with another one of them
// than its neighbor.
func (w wires) url(first int) string {
	urls := make([]string, 0, len(w))
	for i := range w {
		urls = append(urls, w[(i+first)%len(w)].URL())
	}
	return strings.Join(urls, ",")
}

func (w wires) cut() {
	for _, p := range w {
		p.Cut()
	}
}

// deafen holds back what the servers send, or lets it pass.
func (w wires) deafen(on bool) {
	for _, p := range w {
		p.Hold(on, testserver.ToClient)
	}
}

// stepDown makes the leader of the nth replicated stream give up.
func (s *servers) stepDown(ctx context.Context, js jetstream.JetStream, n int) (stream string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var names []string
	list := js.ListStreams(ctx)
	for info := range list.Info() {
		if info.Config.Replicas > 1 {
			names = append(names, info.Config.Name)
		}
	}
	if err := list.Err(); err != nil {
		return "", fmt.Errorf("list streams: %w", err)
	}
	if len(names) == 0 {
		return "", errors.New("step down: no stream has replicas")
	}
	stream = names[n%len(names)]
	s.peers.StepDown(stream) //nolint:contextcheck // it waits under the test's own
	return stream, nil
}
