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
// No goroutine is exempt from the check: nats-server, nats.go and this package
// all leave none.
func Main(m *testing.M) int {
	RunChildIfAsked()
	code := m.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintf(os.Stderr, "goroutines outlive the tests: %v\n", err)
		return 1
	}
	return 0
}
