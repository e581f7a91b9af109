package chaos

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// stage is what internal/testserver needs of a test, for a program that is none.
// Of testing.TB it has what that package calls; anything else would be a nil
// pointer, and be seen at once.
type stage struct {
	testing.TB

	ctx context.Context //nolint:containedctx // testing.TB has a method that returns it
	log io.Writer

	mu       sync.Mutex
	failed   bool
	cleanups []func()
}

// OnStage runs f as a test would be run, with what it starts ended afterwards, and
// says whether it went without an error. Messages go to log.
func OnStage(ctx context.Context, log io.Writer, f func(tb testing.TB)) bool {
	ctx, cancel := context.WithCancel(ctx)
	s := &stage{ctx: ctx, log: log}
	done := make(chan struct{})
	// Fatal ends the goroutine that calls it, as in a test.
	go func() {
		defer close(done)
		defer s.clean()
		defer cancel()
		f(s)
	}()
	<-done
	return !s.Failed()
}

func (s *stage) clean() {
	for {
		s.mu.Lock()
		n := len(s.cleanups)
		if n == 0 {
			s.mu.Unlock()
			return
		}
		last := s.cleanups[n-1]
		s.cleanups = s.cleanups[:n-1]
		s.mu.Unlock()
		last()
	}
}

func (s *stage) Cleanup(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, f)
}

func (s *stage) Context() context.Context { return s.ctx }

func (s *stage) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *stage) Fail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = true
}

func (s *stage) FailNow() {
	s.Fail()
	runtime.Goexit()
}

func (s *stage) Helper() {}

func (s *stage) Name() string { return "chaos" }

func (s *stage) Log(args ...any) { s.write(fmt.Sprint(args...)) }

func (s *stage) Logf(format string, args ...any) { s.write(fmt.Sprintf(format, args...)) }

// shown is how many bytes of one message are shown: of a server's log, the end.
const shown = 4 << 10

func (s *stage) write(text string) {
	if cut := len(text) - shown; cut > 0 {
		first, _, _ := strings.Cut(text, "\n")
		text = first + " …" + text[max(cut, len(first)):]
	}
	fmt.Fprintln(s.log, text)
}

func (s *stage) Error(args ...any) {
	s.Log(args...)
	s.Fail()
}

func (s *stage) Errorf(format string, args ...any) {
	s.Logf(format, args...)
	s.Fail()
}

func (s *stage) Fatal(args ...any) {
	s.Log(args...)
	s.FailNow()
}

func (s *stage) Fatalf(format string, args ...any) {
	s.Logf(format, args...)
	s.FailNow()
}

// TempDir makes a directory that is removed at the end.
func (s *stage) TempDir() string {
	dir, err := os.MkdirTemp("", "agner-chaos-")
	if err != nil {
		s.Fatalf("chaos: temporary directory: %v", err)
	}
	s.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
