package consume

import (
	"fmt"
	"time"
)

// The words of a client about a delivery, as the server reads them.
//
//nolint:gochecknoglobals // constants: Go has no constant slices
var (
	wordAck      = []byte("+ACK")
	wordNak      = []byte("-NAK")
	wordProgress = []byte("+WPI")
)

func (l *loop) ack(d *delivery)      { l.say(d, wordAck) }
func (l *loop) handBack(d *delivery) { l.say(d, wordNak) }

// nak gives a delivery back to the group, to be delivered again after delay.
func (l *loop) nak(d *delivery, delay time.Duration) {
	if delay <= 0 {
		l.say(d, wordNak)
		return
	}
	l.say(d, fmt.Appendf(nil, `-NAK {"delay": %d}`, delay.Nanoseconds()))
}

// term ends a delivery for good; the reason is in the server's advisory.
func (l *loop) term(d *delivery, reason string) { l.say(d, []byte("+TERM "+reason)) }

// say publishes one word. It fails only on a closed connection or a full
// reconnect buffer: then the event comes again, which is what at-least-once
// means.
func (l *loop) say(d *delivery, word []byte) {
	if d.epoch != d.src.epoch.Load() {
		return
	}
	if err := l.js.Conn().Publish(d.msg.Reply, word); err != nil {
		l.counters.setError(err)
		l.log.Warn("could not tell the server of a delivery; it will come again",
			"sequence", d.seq, "word", string(word), "error", err)
	}
}
