package service

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// feed is a channel that several subscriptions send to. It is closed once
// nothing can arrive on it any more: all of them have ended, by drain, by
// close or with the connection.
type feed struct {
	nc     *nats.Conn
	in     chan *nats.Msg
	open   atomic.Int64
	closed chan struct{} // with in, for those that do not receive

	mu   sync.Mutex
	subs []*nats.Subscription
}

// newFeed makes a feed that stays open until seal even without subscriptions.
func newFeed(nc *nats.Conn, size int) *feed {
	f := &feed{nc: nc, in: make(chan *nats.Msg, size), closed: make(chan struct{})}
	f.open.Store(1)
	return f
}

// add subscribes; an empty queue is none. nats.go never closes the channel of
// such a subscription, and tells when it will not send to it again.
func (f *feed) add(subject, queue string) error {
	sub, err := f.nc.ChanQueueSubscribe(subject, queue, f.in)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	f.open.Add(1)
	f.mu.Lock()
	f.subs = append(f.subs, sub)
	f.mu.Unlock()
	// nats.go calls the handler twice if the connection closes amid a drain,
	// and not at all if it closed before this line.
	var once sync.Once
	sub.SetClosedHandler(func(string) { once.Do(f.done) })
	if !sub.IsValid() {
		once.Do(f.done)
	}
	return nil
}

func (f *feed) all() []*nats.Subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.subs)
}

// seal says that no subscription is added any more.
func (f *feed) seal() { f.done() }

func (f *feed) done() {
	if f.open.Add(-1) == 0 {
		close(f.in)
		close(f.closed)
	}
}

// drain ends the interest; the feed closes when all that the server had sent
// has arrived. Without a server nothing is on its way.
func (f *feed) drain() {
	if !f.nc.IsConnected() {
		f.close()
		return
	}
	for _, sub := range f.all() {
		if sub.Drain() != nil {
			f.close()
			return
		}
	}
}

// close ends the subscriptions at once.
func (f *feed) close() {
	for _, sub := range f.all() {
		_ = sub.Unsubscribe() // an error says that it has ended already
	}
}

// dropped counts what nats.go could not put into the channel.
func (f *feed) dropped() (n int) {
	for _, sub := range f.all() {
		if d, err := sub.Dropped(); err == nil {
			n += d
		}
	}
	return n
}

// listener hands each message of some subjects to one goroutine.
type listener struct {
	feed *feed
	over sync.WaitGroup
}

func listen(nc *nats.Conn, size int, handle func(*nats.Msg), subjects ...string) (*listener, error) {
	l := &listener{feed: newFeed(nc, size)}
	for _, s := range subjects {
		if err := l.feed.add(s, ""); err != nil {
			l.feed.close()
			l.feed.seal()
			return nil, err
		}
	}
	l.feed.seal()
	l.over.Go(func() {
		for m := range l.feed.in {
			handle(m)
		}
	})
	return l, nil
}

// stop ends it and waits for its goroutine, which handles what has arrived.
func (l *listener) stop() {
	l.feed.close()
	l.over.Wait()
}
