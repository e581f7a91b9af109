package testserver_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// recorder stands in for a test that is expected to fail.
type recorder struct {
	testing.TB
	failed   bool
	text     strings.Builder
	cleanups []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Failed() bool     { return r.failed }
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Logf(format string, args ...any) { fmt.Fprintf(&r.text, format+"\n", args...) }

func (r *recorder) Errorf(format string, args ...any) {
	r.failed = true
	r.Logf(format, args...)
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// record runs f as a test of its own, cleanups included, and returns what it
// logged and whether it failed.
func record(t *testing.T, f func(tb testing.TB)) (text string, failed bool) {
	t.Helper()
	r := &recorder{TB: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f(r)
	}()
	<-ended
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
	return r.text.String(), r.failed
}
