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
// One goroutine is exempt from the check, serverSourceWait; nats-server, nats.go
// and this package leave no other.
func Main(m *testing.M) int {
	RunChildIfAsked()
	code := m.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(goleak.IgnoreTopFunction(serverSourceWait)); err != nil {
		fmt.Fprintf(os.Stderr, "goroutines outlive the tests: %v\n", err)
		return 1
	}
	return 0
}

// serverSourceWait waits up to 30 s for the answer to a request by which a
// sourcing stream, as EVENTS is, sets up its source, and heeds no shutdown of
// the server meanwhile (nats-server 2.15.2, stream.go).
const serverSourceWait = "github.com/nats-io/nats-server/v2/server.(*stream).trySetupSourceConsumer.func3"
