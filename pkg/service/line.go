package service

// line is a bounded queue, first in, first out.
type line struct {
	limit int
	buf   []*inflight
	head  int
}

func (l *line) len() int { return len(l.buf) - l.head }

func (l *line) waiting() []*inflight { return l.buf[l.head:] }

func (l *line) push(x *inflight) bool {
	if l.len() >= l.limit {
		return false
	}
	if l.head > 0 && len(l.buf) == cap(l.buf) {
		n := copy(l.buf, l.buf[l.head:])
		clear(l.buf[n:])
		l.buf, l.head = l.buf[:n], 0
	}
	l.buf = append(l.buf, x)
	return true
}

func (l *line) pop() *inflight {
	if l.len() == 0 {
		return nil
	}
	x := l.buf[l.head]
	l.buf[l.head] = nil
	if l.head++; l.head == len(l.buf) {
		l.buf, l.head = l.buf[:0], 0
	}
	return x
}
