package testserver

import (
	"sync"
	"sync/atomic"
	"time"
)

// Action is what a [Fault] does to a message.
type Action int

const (
	// Drop loses the message; the connection goes on.
	Drop Action = iota
	// Delay holds the message back for [Fault.Delay] while others pass it.
	Delay
	// CutBefore loses the message and the connection with it.
	CutBefore
	// CutAfter passes the message on and loses the connection: of a publish,
	// the server has it and the client never hears so, even if it is back
	// before the ack.
	CutAfter
)

// Fault is something that a [Proxy] does to certain messages.
type Fault struct {
	// Match chooses messages, such as [Published], [Delivered] or [Answered]
	// do. It is called from several goroutines. Default nil: every message.
	Match func(Frame) bool
	// Nth is which of the matching messages the fault hits, counted from 1 over
	// all connections. Default 0: each of them.
	Nth int
	// Action is what happens to it. Default [Drop].
	Action Action
	// Delay is for the action [Delay].
	Delay time.Duration
}

// Injected is a fault in force. It is safe for concurrent use.
type Injected struct {
	fault Fault
	seen  atomic.Int64
	hits  atomic.Int64
	off   atomic.Bool
	first sync.Once
	hit   chan struct{}
}

// Seen is how many messages have matched.
func (i *Injected) Seen() int { return int(i.seen.Load()) }

// Hits is how many messages the fault has hit.
func (i *Injected) Hits() int { return int(i.hits.Load()) }

// Hit is closed when the fault has hit for the first time.
func (i *Injected) Hit() <-chan struct{} { return i.hit }

// Remove ends the fault; what it holds back is still delivered.
func (i *Injected) Remove() { i.off.Store(true) }

// strikes counts f and says whether the fault hits it.
func (i *Injected) strikes(f Frame) bool {
	if i.off.Load() || (i.fault.Match != nil && !i.fault.Match(f)) {
		return false
	}
	n := i.seen.Add(1)
	return i.fault.Nth == 0 || n == int64(i.fault.Nth)
}

func (i *Injected) struck() {
	i.hits.Add(1)
	i.first.Do(func() { close(i.hit) })
}
