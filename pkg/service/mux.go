package service

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// mux matches replies to the calls that wait for them, over one subscription
// of its own to `<inbox>.*`.
//
// The last token names a slot and carries a number that is drawn anew for each
// call from the system's random source, since every service that is called
// learns the rest of the subject: it could otherwise answer the calls of its
// neighbours. A reply whose number is not the slot's is late or forged, and
// dropped.
type mux struct {
	nc *nats.Conn

	mu     sync.Mutex
	sub    *nats.Subscription
	prefix string // of the inboxes, with the last dot; made once
	slots  []*slot
	free   []*slot
	closed bool
	idle   chan struct{} // closed when no call waits; made by close

	group   []sending // to be sent by the caller that leads
	spare   []sending // its array, while nobody uses it
	leading bool

	random [512]byte
	unused int // bytes at the end of random
}

// slot is a place for one waiting call, used again by later ones.
type slot struct {
	index   uint32
	nonce   uint64         // 0: nobody waits
	arrived chan *nats.Msg // always has room; nil means that no reply can come any more
	err     error          // beside nil in arrived: the request was not sent
	many    int            // how many replies may wait, of a slot for more than one
	timer   *time.Timer
}

// tokenLen is the length of the last token: index and nonce in hex.
const tokenLen = 2 * (4 + 8)

// open takes a slot for a call that may take d, and gives its inbox. One reply
// is expected, or, with many above 0, any number of which so many may wait.
func (x *mux) open(d time.Duration, many int) (s *slot, nonce uint64, inbox string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, 0, "", ErrClosed
	}
	if x.sub == nil {
		if err := x.subscribe(); err != nil {
			return nil, 0, "", err
		}
	}
	if n := len(x.free); n > 0 {
		s, x.free = x.free[n-1], x.free[:n-1]
	} else {
		s = &slot{index: uint32(len(x.slots)), arrived: make(chan *nats.Msg, 1)} //nolint:gosec // not so many goroutines
		x.slots = append(x.slots, s)
	}
	s.nonce, s.err, s.many = x.draw(), nil, many
	if many > 0 {
		s.arrived = make(chan *nats.Msg, many+1) // and the nil at the end
	}
	var raw [tokenLen / 2]byte
	binary.BigEndian.PutUint32(raw[:4], s.index)
	binary.BigEndian.PutUint64(raw[4:], s.nonce)
	var buf [128]byte
	b := hex.AppendEncode(append(buf[:0], x.prefix...), raw[:])
	return s, s.nonce, string(appendTimeout(b, d)), nil
}

// subscribe is done at the first call, so that an unused client costs nothing.
// The lock is held.
func (x *mux) subscribe() error {
	if x.prefix == "" {
		x.prefix = x.nc.NewInbox() + "."
	}
	sub, err := x.nc.Subscribe(x.prefix+"*", x.deliver)
	if err != nil {
		return fmt.Errorf("subscribe to replies: %w", err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return errors.Join(fmt.Errorf("subscribe to replies: %w", err), sub.Unsubscribe())
	}
	sub.SetClosedHandler(func(string) { x.lose(sub) })
	x.sub = sub
	return nil
}

// draw returns a random number other than 0. The lock is held.
func (x *mux) draw() uint64 {
	for {
		if x.unused == 0 {
			_, _ = rand.Read(x.random[:]) // never fails
			x.unused = len(x.random)
		}
		b := x.random[len(x.random)-x.unused:]
		x.unused -= 8
		n := binary.BigEndian.Uint64(b)
		clear(b[:8])
		if n != 0 {
			return n
		}
	}
}

// deliver hands a reply to its call.
func (x *mux) deliver(m *nats.Msg) {
	token, ok := strings.CutPrefix(m.Subject, x.prefix)
	if !ok || len(token) < tokenLen {
		return
	}
	var raw [tokenLen / 2]byte
	if _, err := hex.Decode(raw[:], []byte(token[:tokenLen])); err != nil {
		return
	}
	index, nonce := binary.BigEndian.Uint32(raw[:4]), binary.BigEndian.Uint64(raw[4:])
	x.mu.Lock()
	if uint64(index) >= uint64(len(x.slots)) || x.slots[index].nonce != nonce || nonce == 0 {
		x.mu.Unlock()
		return
	}
	s := x.slots[index]
	if s.many > 0 {
		if len(s.arrived) < s.many {
			s.arrived <- m // and it waits on
		} else {
			s.nonce, s.err = 0, errTooMany
			s.arrived <- nil
		}
		x.mu.Unlock()
		return
	}
	s.nonce = 0
	x.mu.Unlock()
	s.arrived <- m
}

// giveUp ends the wait for a reply. If one came meanwhile it is returned.
func (x *mux) giveUp(s *slot, nonce uint64) *nats.Msg {
	x.mu.Lock()
	if s.nonce == nonce {
		s.nonce = 0
		x.mu.Unlock()
		return nil
	}
	x.mu.Unlock()
	return <-s.arrived
}

// stop ends the wait of a slot for many replies; what waits is dropped.
func (x *mux) stop(s *slot, nonce uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.nonce == nonce {
		s.nonce = 0
	}
}

// release makes the slot free again. Its wait has ended.
func (x *mux) release(s *slot) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.many > 0 {
		s.arrived, s.many = make(chan *nats.Msg, 1), 0
	}
	x.free = append(x.free, s)
	if x.idle != nil && len(x.free) == len(x.slots) {
		close(x.idle)
		x.idle = nil
	}
}

// fail ends the wait of a call that was not sent.
func (x *mux) fail(s *slot, nonce uint64, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.nonce == nonce {
		s.nonce, s.err = 0, err
		s.arrived <- nil
	}
}

// lose tells all calls that wait that nothing will come: the connection was
// closed, or the mux is.
func (x *mux) lose(sub *nats.Subscription) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sub != sub {
		return
	}
	x.sub = nil
	for _, s := range x.slots {
		if s.nonce != 0 {
			s.nonce = 0
			s.arrived <- nil
		}
	}
}

// close refuses new calls, waits for those that wait until ctx ends, and ends
// the subscription.
func (x *mux) close(ctx context.Context) error {
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return nil
	}
	x.closed = true
	idle := make(chan struct{})
	if len(x.free) == len(x.slots) {
		close(idle)
	} else {
		x.idle = idle
	}
	sub := x.sub
	x.mu.Unlock()
	var err error
	select {
	case <-idle:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if sub == nil {
		return err
	}
	x.lose(sub)
	if e := sub.Unsubscribe(); e != nil && !x.nc.IsClosed() {
		err = errors.Join(err, e)
	}
	return err
}
