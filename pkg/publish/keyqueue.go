package publish

// A keyed event may be on the wire only if no earlier one of its key is in
// doubt. So each key has a queue of the events in the window, in the order in
// which they were published, and only its first may be sent. An event without a
// key is in no queue; a batch is in the queue of each of its keys, and goes when
// it is first in all of them. Places are taken under the publisher's lock, all
// of a batch's at once, so no two batches can wait for each other.

// link is a place in the queue of one key.
type link struct {
	key        string
	owner      *Future
	prev, next *link
}

// keyQueues holds the last link of each key that has any.
type keyQueues map[string]*link

// enter puts f at the end of the queue of each of its keys.
func (q keyQueues) enter(f *Future) {
	places := f.places()
	for i := range places {
		l := &places[i]
		l.owner = f
		if last := q[l.key]; last != nil {
			l.prev, last.next = last, l
			f.blocked++
		}
		q[l.key] = l
	}
}

// leave takes f out of its queues. It returns the list, linked by ready, of
// those that are now first everywhere.
func (q keyQueues) leave(f *Future) (ready *Future) {
	places := f.places()
	for i := range places {
		l := &places[i]
		switch {
		case l.next != nil:
			l.next.prev = l.prev
		case l.prev != nil:
			q[l.key] = l.prev
		default:
			delete(q, l.key)
		}
		if l.prev != nil {
			l.prev.next = l.next
		} else if l.next != nil {
			next := l.next.owner
			if next.blocked--; next.blocked == 0 {
				next.ready, ready = ready, next
			}
		}
		l.prev, l.next, l.owner = nil, nil, nil
	}
	return ready
}
