package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// serverLog passes the server's log on to slog. It also keeps the first fatal
// line, because that is the only way in which the server tells why it gave up.
type serverLog struct {
	out *slog.Logger

	mu       sync.Mutex
	fatalErr error
}

var _ server.Logger = (*serverLog)(nil)

func newServerLog(out *slog.Logger) *serverLog {
	if out == nil {
		out = slog.New(slog.DiscardHandler)
	}
	return &serverLog{out: out}
}

func (l *serverLog) write(level slog.Level, format string, args []any) {
	// The server's log calls carry no context to pass on.
	ctx := context.Background()
	if l.out.Enabled(ctx, level) {
		l.out.Log(ctx, level, fmt.Sprintf(format, args...))
	}
}

func (l *serverLog) Noticef(format string, v ...any) { l.write(slog.LevelInfo, format, v) }
func (l *serverLog) Warnf(format string, v ...any)   { l.write(slog.LevelWarn, format, v) }
func (l *serverLog) Errorf(format string, v ...any)  { l.write(slog.LevelError, format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.write(slog.LevelDebug, format, v) }
func (l *serverLog) Tracef(format string, v ...any)  { l.write(slog.LevelDebug, format, v) }

// Fatalf does not end the process, as the server's own logger would: [Start]
// returns what is kept here as its error.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.write(slog.LevelError, format, v)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatalErr == nil {
		l.fatalErr = fmt.Errorf(format, v...)
	}
}

func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatalErr
}
