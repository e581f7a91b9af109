package testserver

import (
	"log/slog"
	"sync"
	"testing"
)

// logLimit bounds what is kept of one server's log; the newest part stays.
const logLimit = 256 << 10

// logBuffer keeps a server's log until it is known whether the test failed. It
// is safe for concurrent use.
type logBuffer struct {
	mu      sync.Mutex
	data    []byte
	dropped bool
}

// newLogBuffer returns a buffer that is shown when the test ends and has
// failed. Ask for it before starting the server: cleanups run last in first
// out, so the log then includes the shutdown.
func newLogBuffer(tb testing.TB, name string) *logBuffer {
	tb.Helper()
	b := &logBuffer{}
	tb.Cleanup(func() {
		if !tb.Failed() {
			return
		}
		if text := b.String(); text != "" {
			tb.Logf("log of %s:\n%s", name, text)
		}
	})
	return b
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = append(b.data, p...)
	if over := len(b.data) - logLimit; over > 0 {
		b.data, b.dropped = append(b.data[:0], b.data[over:]...), true
	}
	return len(p), nil
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dropped {
		return "…" + string(b.data)
	}
	return string(b.data)
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, nil))
}
