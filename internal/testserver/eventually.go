package testserver

import (
	"errors"
	"testing"
	"time"
)

// errNotYet is the failure of a condition that is only a bool.
var errNotYet = errors.New("the condition does not hold")

// pollEvery is how often [Eventually] looks: often enough that a test loses no
// time, seldom enough that many of them do not starve two cores.
const pollEvery = 5 * time.Millisecond

// Eventually waits until cond holds: returns true, or a nil error. After timeout
// it fails the test with the message, formatted as by fmt.Sprintf, and the last
// error. It looks at once, then every 5 ms, and one last time at the end. In a
// [Bubble] both times are fake ones.
//
// Like t.FailNow, it must be called from the goroutine that runs the test.
func Eventually[C func() bool | func() error](tb testing.TB, timeout time.Duration, cond C, format string, args ...any) {
	tb.Helper()
	check := checker(cond)
	err := check()
	if err == nil {
		return
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err = check(); err == nil {
				return
			}
		case <-deadline.C:
			if err = check(); err == nil {
				return
			}
			tb.Fatalf("after %s: "+format+": %v", append(append([]any{timeout}, args...), err)...)
		}
	}
}

func checker(cond any) func() error {
	if f, ok := cond.(func() error); ok {
		return f
	}
	f := cond.(func() bool)
	return func() error {
		if f() {
			return nil
		}
		return errNotYet
	}
}
