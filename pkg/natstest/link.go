package natstest

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

var errCut = errors.New("natstest: the connection was cut")

// link is an instance's way to the server, which can be taken away. It hands
// out one connection after the other, as its client reconnects.
type link struct {
	server nats.InProcessConnProvider

	mu      sync.Mutex
	dead    bool
	stalled chan struct{} // closed when the stall ends; nil while there is none
	conns   map[*linkConn]bool
}

// InProcessConn implements nats.InProcessConnProvider. During a stall nothing can
// be opened: nats.go would wait for the server's greeting with its lock held, and
// no time passes in a bubble while somebody waits for a lock.
func (l *link) InProcessConn() (net.Conn, error) {
	l.mu.Lock()
	gone := l.dead || l.stalled != nil
	l.mu.Unlock()
	if gone {
		return nil, errCut
	}
	conn, err := l.server.InProcessConn()
	if err != nil {
		return nil, err
	}
	c := &linkConn{Conn: conn, link: l, closed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		l.conns = make(map[*linkConn]bool)
	}
	l.conns[c] = true
	return c, nil
}

// cut closes what is open, and lets nothing be opened any more if for good.
func (l *link) cut(forGood bool) {
	l.mu.Lock()
	l.dead = l.dead || forGood
	open := make([]*linkConn, 0, len(l.conns))
	for c := range l.conns {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // closed already is as good
	}
}

// stall begins or ends a black hole: connections stay open, take what is
// written, and give nothing.
func (l *link) stall(on bool) {
	l.mu.Lock()
	switch {
	case on && l.stalled == nil:
		l.stalled = make(chan struct{})
		l.mu.Unlock()
		return
	case !on && l.stalled != nil:
		close(l.stalled)
		l.stalled = nil
	}
	open := make([]*linkConn, 0, len(l.conns))
	for c := range l.conns {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		c.release()
	}
}

func (l *link) hole() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stalled
}

// linkConn is one connection of a link.
type linkConn struct {
	net.Conn
	link   *link
	once   sync.Once
	closed chan struct{}

	mu   sync.Mutex
	held []byte // written during a stall
}

// Read implements net.Conn. What arrives during a stall waits for its end.
func (c *linkConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for hole := c.link.hole(); hole != nil; hole = c.link.hole() {
		select {
		case <-hole:
		case <-c.closed:
			return 0, errCut
		}
	}
	return n, err
}

// Write implements net.Conn.
func (c *linkConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link.hole() != nil {
		c.held = append(c.held, p...)
		return len(p), nil
	}
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// release passes on what was written during a stall.
func (c *linkConn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.SetWriteDeadline(time.Now().Add(releaseTimeout)) // a pipe without a reader would hold the test for ever
	if c.flush() == nil {
		_ = c.SetWriteDeadline(time.Time{}) // the same connection, just used
	}
}

// releaseTimeout bounds the wait for the server to take what was held.
const releaseTimeout = 5 * time.Second

// flush writes what is held, with mu held.
func (c *linkConn) flush() error {
	if len(c.held) == 0 {
		return nil
	}
	held := c.held
	c.held = nil
	_, err := c.Conn.Write(held)
	return err
}

// Close implements net.Conn.
func (c *linkConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.link.mu.Lock()
		delete(c.link.conns, c)
		c.link.mu.Unlock()
	})
	return c.Conn.Close()
}
