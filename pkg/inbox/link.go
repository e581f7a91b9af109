package inbox

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go"
)

// link tells those who wait for an answer that the connection by which they
// asked is gone: the answer will not come, and waiting out a timeout would hold
// up everything behind them.
type link struct {
	nc  *nats.Conn
	mu  sync.Mutex
	ctx context.Context //nolint:containedctx // of the present connection: it ends with that
	end context.CancelFunc
}

func newLink(nc *nats.Conn) *link {
	l := &link{nc: nc}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

// watch follows the connection until ctx ends.
func (l *link) watch(ctx context.Context) {
	// Both ends of an outage: what is sent between the loss and its notice is
	// found by the second.
	status := l.nc.StatusChanged(nats.RECONNECTING, nats.CONNECTED, nats.CLOSED)
	defer l.nc.RemoveStatusListener(status)
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-status:
			if !ok {
				return
			}
			l.renew()
		}
	}
}

func (l *link) renew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
	l.ctx, l.end = context.WithCancel(context.Background())
}

// present is a context that ends when the present connection is lost.
func (l *link) present() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ctx
}

// bind returns ctx, ended too when the present connection is lost.
func (l *link) bind(ctx context.Context) (context.Context, context.CancelFunc) {
	if l == nil {
		return context.WithCancel(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.present(), func() { cancel(nats.ErrDisconnected) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}
