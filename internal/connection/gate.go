// Package connection says whether the broker is within reach, as a condition
// for supervisors: an outage of the broker is nobody's failure, so it must
// spend no restart budget (promise P5).
package connection

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Gate is open while the connection stands. It is a supervise.Gate and safe
// for concurrent use.
type Gate struct {
	conn   *nats.Conn
	blames func(error) bool
}

// NewGate makes a Gate. Errors for which blames reports true are the broker's,
// whatever the connection's state; nil blames Lost.
func NewGate(nc *nats.Conn, blames func(error) bool) *Gate {
	if blames == nil {
		blames = Lost
	}
	return &Gate{conn: nc, blames: blames}
}

// Open reports whether the connection stands. A closed connection never comes
// back, so it counts as open: what depends on it must fail for good.
func (g *Gate) Open() bool { return g.conn.IsConnected() || g.conn.IsClosed() }

// Blames reports whether err can only come from the broker or the way to it.
func (g *Gate) Blames(err error) bool { return !g.conn.IsClosed() && g.blames(err) }

// Wait returns nil once the connection stands or is closed for good, or ctx's
// error.
func (g *Gate) Wait(ctx context.Context) error {
	status := g.conn.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer g.conn.RemoveStatusListener(status)
	for !g.Open() {
		select {
		case <-status:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Lost reports whether err says that the connection was lost, or that a
// publish found none.
func Lost(err error) bool {
	return errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrReconnectBufExceeded) ||
		errors.Is(err, nats.ErrStaleConnection) || errors.Is(err, nats.ErrConnectionReconnecting)
}

// Unavailable reports whether err says that the broker cannot answer now: it is
// away, elects a leader, or is overloaded. It is for errors of JetStream
// requests; elsewhere a deadline may have other causes.
func Unavailable(err error) bool {
	var api *jetstream.APIError
	return Lost(err) ||
		errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &api) && api.Code == 503
}
