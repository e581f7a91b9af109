package testserver

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main runs a package's tests and returns the exit code: 1 if a test failed or
// if a goroutine outlives them all. A package that uses this one has
//
//	func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }
//
// which also lets [StartChild] run the test binary a second time as a server.
// The few goroutines that nats-server itself leaves are exempt from the check, see
// leftByServer; nats.go and this package leave none.
func Main(m *testing.M) int {
	RunChildIfAsked()
	code := m.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(leftByServer()...); err != nil {
		fmt.Fprintf(os.Stderr, "goroutines outlive the tests: %v\n", err)
		return 1
	}
	return 0
}

// leftByServer names the goroutines that nats-server 2.15.2 leaves behind.
func leftByServer() []goleak.Option {
	const server = "github.com/nats-io/nats-server/v2/server"
	return []goleak.Option{
		// Waits up to 30 s for the answer to a request by which a sourcing
		// stream, as EVENTS is, sets up its source, and heeds no shutdown.
		goleak.IgnoreTopFunction(server + ".(*stream).trySetupSourceConsumer.func3"),
		// Of the store of a stream whose creation was under way when the server
		// shut down: it is known to nobody yet, so nobody stops it. The other
		// is the clock that such a store holds.
		goleak.IgnoreTopFunction(server + ".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction(server + "/ats.Register.func1"),
	}
}
