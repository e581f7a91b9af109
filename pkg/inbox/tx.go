package inbox

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

// Tx is what a handler may do to one entity: all of it is stored in one commit,
// or none. It is valid until the handler returns, and only on the handler's own
// goroutine.
type Tx[S any] struct {
	// Key is the entity's.
	Key string
	// State is the entity's, zero for one that has none stored. The handler
	// changes it in place.
	State S

	call *call
}

// Publish publishes a domain event with the commit: it reaches the stream of
// events once, if this run of the handler is committed, and not otherwise. Its
// order is that of the commits of the entity. An event that cannot be published
// (no codec, too large) fails the handler.
func (tx *Tx[S]) Publish(p envelope.Payload) {
	if tx.call == nil {
		return
	}
	tx.call.publish(p)
}

// PublishRaw is Publish for an event whose data are bytes. What attributes it
// lacks are filled in.
func (tx *Tx[S]) PublishRaw(e envelope.Raw) {
	if tx.call == nil {
		return
	}
	tx.call.publishRaw(e)
}

// Send sends a message to another entity of this inbox, or to the same, with the
// commit: it reaches the mailbox once, or not at all.
func (tx *Tx[S]) Send(key string, p envelope.Payload) {
	if tx.call == nil {
		return
	}
	tx.call.send(key, p)
}

// Delete removes the entity's stored state when the handler returns nil; the
// next message finds a zero state. What the handler does to State is dropped.
func (tx *Tx[S]) Delete() {
	if tx.call != nil {
		tx.call.deleted = true
	}
}

// ID identifies the message that is handled, the same in every run of the
// handler for it, by whatever instance: an idempotency key for effects outside
// of the commit. After the handler has returned it is empty.
func (tx *Tx[S]) ID() string {
	if tx.call == nil {
		return ""
	}
	return tx.call.id
}

func (tx *Tx[S]) leave() { tx.call = nil }

// call is one run of a handler.
type call struct {
	in      *Inbox
	id      string // of the message
	part    int    // partition
	event   *envelope.Attributes
	outs    []*nats.Msg
	size    int // bytes of outs
	deleted bool
	err     error // first output that could not be made
}

func (c *call) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *call) publish(p envelope.Payload) {
	raw, err := c.in.raw(p)
	if err != nil {
		c.fail(fmt.Errorf("publish %T: %w", p, err))
		return
	}
	c.publishRaw(raw)
}

func (c *call) publishRaw(e envelope.Raw) {
	m, err := c.message(&e)
	if err != nil {
		c.fail(fmt.Errorf("publish event of type %q: %w", e.Type, err))
		return
	}
	rest, err := c.in.outRest(e.Type, e.Key)
	if err != nil {
		c.fail(fmt.Errorf("publish event of type %q: %w", e.Type, err))
		return
	}
	m.Subject = c.in.subjects.Out(c.part, rest)
	c.add(m)
}

func (c *call) send(key string, p envelope.Payload) {
	raw, err := c.in.raw(p)
	if err == nil {
		raw.Key = key
		var m *nats.Msg
		if m, err = c.message(&raw); err == nil {
			m.Subject = c.in.subjects.Sent(tokenOf(key))
			c.add(m)
			return
		}
	}
	c.fail(fmt.Errorf("send %T to entity %q: %w", p, key, err))
}

func (c *call) add(m *nats.Msg) {
	size := len(m.Data) + envelope.HeaderSize(m.Header)
	if limit := c.in.maxMessage(); size > limit {
		c.fail(fmt.Errorf("%w: output on %s has %d bytes with its headers, at most %d are allowed", ErrTooLarge, m.Subject, size, limit))
		return
	}
	c.outs = append(c.outs, m)
	c.size += size
}
