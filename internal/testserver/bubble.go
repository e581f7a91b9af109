package testserver

import (
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats-server/v2/server/ats"
)

// Bubble runs f against a server of its own in fake time: server, connections
// and the code under test all live in one [synctest] bubble, where a timer
// fires as soon as nothing else can happen. A 30 s ack wait then takes
// milliseconds and comes out the same every time. Time starts at midnight UTC,
// 2000-01-01.
//
// What it asks of the test:
//
//   - Everything that f starts must end with it; what is left over is reported
//     as a deadlock. The server and the connections of this package end by
//     themselves.
//   - Only in-process connections ([Server.Connect], [Server.JetStream]). A
//     socket, a file lock, a child process or a channel made outside of the
//     bubble stops the clock while one waits for it.
//   - A mutex does not let time pass: code that holds one while it waits for a
//     timer of another goroutine hangs.
//   - No t.Run, t.Parallel or t.Deadline inside, and no parallel test around:
//     two bubbles must not overlap, nor a bubble and other tests that use
//     nats.go, because nats.go pools timers for the whole process. Bubble
//     makes the testing package refuse that.
//   - Spans of minutes or a few hours. The server's own tickers run all the
//     while, so that each fake hour costs real seconds.
//
// It leans on how nats-server and nats.go are made inside; the tests of this
// package hold a canary that fails when an upgrade changes that.
func Bubble(t *testing.T, f func(t *testing.T, s *Server), opts ...Option) {
	t.Helper()
	// Setenv is what the testing package never allows next to t.Parallel.
	t.Setenv("AGNER_TESTSERVER_BUBBLE", "1")

	// The server's access-time service is one goroutine for the process, fed
	// by a global channel. Held open from outside, it never starts within the
	// bubble, where waiting for that channel would stop the clock.
	ats.Register()
	defer ats.Unregister()

	emptyPools()
	defer emptyPools()
	synctest.Test(t, func(t *testing.T) {
		f(t, Start(t, opts...))
	})
}

// emptyPools drops the timers that nats.go keeps in a sync.Pool for Request,
// Flush and Drain: to use one in another bubble than its own is fatal. A pool
// survives one collection as the victim of the next.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}
