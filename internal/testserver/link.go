package testserver

import (
	"bufio"
	"net"
	"sync"
	"time"
)

// link is one client's connection through a proxy.
type link struct {
	proxy  *Proxy
	ends   map[Direction]*end
	closed chan struct{}
	once   sync.Once
}

// end is where one direction comes from and goes to. Delayed messages are
// written by goroutines of their own, hence the lock.
type end struct {
	from net.Conn
	to   net.Conn

	mu  sync.Mutex
	out *bufio.Writer
}

const linkBuffer = 64 << 10

func newLink(p *Proxy, client, srv net.Conn) *link {
	return &link{
		proxy: p,
		ends: map[Direction]*end{
			ToServer: {from: client, to: srv, out: bufio.NewWriterSize(srv, linkBuffer)},
			ToClient: {from: srv, to: client, out: bufio.NewWriterSize(client, linkBuffer)},
		},
		closed: make(chan struct{}),
	}
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.closed)
		for _, e := range l.ends {
			_ = e.to.Close() // the pumps end by it, whatever it says
		}
	})
}

// pump passes one direction on until either side ends the connection.
func (l *link) pump(dir Direction) {
	defer l.close()
	e := l.ends[dir]
	in := bufio.NewReaderSize(e.from, linkBuffer)
	for {
		raw, frame, err := readFrame(in, dir)
		if err != nil {
			return
		}
		more := in.Buffered() > 0
		if frame == nil {
			if !l.pass(dir, raw, more) {
				return
			}
			continue
		}
		if l.lost(frame) {
			raw = nil
		}
		if !l.handle(raw, *frame, more) {
			return
		}
	}
}

// lost notes a request and recognizes an answer, and says whether that must not
// arrive.
func (l *link) lost(f *Frame) (lost bool) {
	if f.Direction == ToClient {
		f.Answers, lost = l.proxy.requests.answered(f.Subject)
	} else if f.Reply != "" {
		l.proxy.requests.add(f.Reply, f.Subject)
	}
	return lost
}

// handle passes a message on unless a fault hits it, and says whether the
// connection lives.
func (l *link) handle(raw []byte, f Frame, more bool) bool {
	hit := l.proxy.decide(f)
	if hit == nil {
		return l.pass(f.Direction, raw, more)
	}
	switch hit.fault.Action {
	case Drop:
		// What stands in the buffer before it must not wait for a next message.
		return l.pass(f.Direction, nil, more)
	case Delay:
		l.proxy.wg.Go(func() { l.passLater(f.Direction, raw, hit.fault.Delay) })
		return l.pass(f.Direction, nil, more)
	case CutAfter:
		// The sender's side goes first, and an answer is lost wherever it
		// comes: the client may have reconnected by then.
		_ = l.ends[f.Direction].from.Close()
		if f.Direction == ToServer && f.Reply != "" {
			l.proxy.requests.lose(f.Reply)
		}
		l.pass(f.Direction, raw, false)
		return false
	case CutBefore:
		l.pass(f.Direction, nil, false)
		return false
	default:
		return l.pass(f.Direction, raw, more)
	}
}

func (l *link) passLater(dir Direction, raw []byte, after time.Duration) {
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-timer.C:
		l.pass(dir, raw, false)
	case <-l.closed:
	}
}

// pass writes raw when the gate is open, and flushes unless more is to follow.
func (l *link) pass(dir Direction, raw []byte, more bool) bool {
	select {
	case <-l.proxy.gates[dir].passable():
	case <-l.closed:
		return false
	}
	e := l.ends[dir]
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.out.Write(raw); err != nil {
		return false
	}
	if more {
		return true
	}
	return e.out.Flush() == nil
}
