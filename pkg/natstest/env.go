package natstest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

// DefaultPatience is how long an [Env] waits for something to happen before it
// fails the test: in real time, and in that of a [Bubble].
const (
	DefaultPatience       = 10 * time.Second
	DefaultBubblePatience = time.Hour
)

// Env is a server with JetStream, and what a test does with it. Where something
// fails it fails the test at once, so its methods must be called from the
// goroutine that runs the test; those that return a connection or an address
// are safe for concurrent use.
type Env struct {
	tb       testing.TB
	server   *testserver.Server
	set      settings
	js       jetstream.JetStream
	handles  atomic.Int64 // calls of Handle, for their namespaces
	inBubble bool
}

type settings struct {
	listen    bool
	namespace string
	patience  time.Duration
}

// Option changes an [Env].
type Option func(*settings)

// Listen gives the server a port on loopback, so that [Env.URL] works and nats or
// natsctl can look into a test that is held up. It has no place in a [Bubble].
func Listen() Option { return func(s *settings) { s.listen = true } }

// WithNamespace says in which namespace the program under test works: that of
// [Env.Publish], [RequirePublished], [RequireDeadLetter] and [Env.Settle].
// Default: none.
func WithNamespace(ns string) Option { return func(s *settings) { s.namespace = ns } }

// WithPatience sets how long to wait for something to happen before the test
// fails. Default [DefaultPatience], and [DefaultBubblePatience] in a bubble.
func WithPatience(d time.Duration) Option { return func(s *settings) { s.patience = d } }

// New starts a server for tb, which ends with it. It takes a few milliseconds,
// so that each test can have its own.
func New(tb testing.TB, opts ...Option) *Env {
	tb.Helper()
	set := settings{patience: DefaultPatience}
	for _, o := range opts {
		o(&set)
	}
	var server []testserver.Option
	if set.listen {
		server = append(server, testserver.Listen())
	}
	return newEnv(tb, testserver.Start(tb, server...), set)
}

func newEnv(tb testing.TB, s *testserver.Server, set settings) *Env {
	tb.Helper()
	e := &Env{tb: tb, server: s, set: set}
	e.js = s.JetStream(tb)
	return e
}

// Bubble runs f with an [Env] in fake time: server, connections and the code
// under test live in one [testing/synctest] bubble, where a timer fires as soon
// as nothing else can happen. Ack waits, retries and expiry take no time and come
// out the same every time. Its limits:
//
//   - All that f starts must end with it; goroutines that are left over are
//     reported as a deadlock. Server and connections end by themselves.
//   - No sockets, files with locks, child processes, databases, or channels
//     made outside: time stands still while somebody waits for one. Give the
//     program a fake for those, or test that part with [New].
//   - A mutex held while waiting for a timer of another goroutine hangs.
//   - No t.Run, t.Parallel or t.Deadline inside, and no parallel test around.
//   - Spans of minutes to a few hours: the server's own timers run all the while,
//     and a fake hour costs about a second.
//   - Work takes no time: nothing about speed or load shows here.
//   - It leans on how nats-server and nats.go are made inside, so a new version
//     of either may break it.
func Bubble(t *testing.T, f func(t *testing.T, env *Env), opts ...Option) {
	t.Helper()
	set := settings{patience: DefaultBubblePatience}
	for _, o := range opts {
		o(&set)
	}
	if set.listen {
		t.Fatal("natstest: Listen has no place in a Bubble: a socket stops its clock; use New")
	}
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
		t.Helper()
		env := newEnv(t, s, set)
		env.inBubble = true
		f(t, env)
	})
}

// JetStream is the test's own way to the server: for publish.New, consume.New,
// or to look into streams.
func (e *Env) JetStream() jetstream.JetStream { return e.js }

// Conn is the connection of [Env.JetStream].
func (e *Env) Conn() *nats.Conn { return e.js.Conn() }

// Connect opens another connection. It reconnects for ever, and is closed when
// the test ends.
func (e *Env) Connect(opts ...nats.Option) *nats.Conn {
	e.tb.Helper()
	return e.server.Connect(e.tb, opts...)
}

// URL is the address of a server with [Listen].
func (e *Env) URL() string {
	e.tb.Helper()
	if !e.set.listen {
		e.tb.Fatal("natstest: URL: the server has no port; make the Env with natstest.Listen()")
	}
	return e.server.URL()
}

// RestartServer stops the server and starts it again on the same store:
// connections find it again by themselves.
func (e *Env) RestartServer() {
	e.tb.Helper()
	e.server.Restart(e.tb)
}

// publishTimeout bounds one publish of the test's own.
const publishTimeout = 5 * time.Second

// Publish publishes an event as another service would, with source "/natstest",
// and returns where it is stored. An error fails the test.
func (e *Env) Publish(payload envelope.Payload, opts ...publish.Option) publish.Ack {
	e.tb.Helper()
	return e.publish(e.set.namespace, payload, opts...)
}

func (e *Env) publish(namespace string, payload envelope.Payload, opts ...publish.Option) publish.Ack {
	e.tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.tb.Context()), publishTimeout)
	defer cancel()
	pub, err := publish.New(e.js, publish.Config{Source: "/natstest", Namespace: namespace})
	if err != nil {
		e.tb.Fatalf("natstest: publish: %v", err)
	}
	ack, err := pub.Publish(ctx, payload, opts...)
	if err != nil {
		e.tb.Fatalf("natstest: %v", err)
	}
	if err := pub.Close(ctx); err != nil {
		e.tb.Fatalf("natstest: close publisher: %v", err)
	}
	return ack
}
