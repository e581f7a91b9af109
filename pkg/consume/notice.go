package consume

import "time"

// NoticeKind says what a [Notice] is about.
type NoticeKind string

// Kinds of notices.
const (
	NoticeDeadLettered NoticeKind = "dead-lettered" // an event was given up
	NoticeHealed       NoticeKind = "healed"        // a durable was gone and is there again
	NoticePaused       NoticeKind = "paused"        // delivery is paused, by the kill switch or by an operator
	NoticeResumed      NoticeKind = "resumed"       // and goes on
	NoticeDataLoss     NoticeKind = "data-loss"     // retention removed events unread
)

// Notice is what has happened to a subscription that somebody may ask for
// later. Pauses and losses are noticed by each instance.
type Notice struct {
	Kind         NoticeKind
	Time         time.Time
	Subscription string
	Durable      string
	Reason       string // of a dead letter
	Err          error  // what led to it
	// The event that was given up.
	EventID, EventType, EventKey string
	Events                       uint64 // that were removed unread
}

// notice hands a notice to the hook, if there is one.
func (l *loop) notice(n Notice) {
	if l.cfg.OnNotice == nil {
		return
	}
	n.Time, n.Subscription, n.Durable = time.Now(), l.sub.name, l.durableName
	l.cfg.OnNotice(n)
}
