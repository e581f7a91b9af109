package consume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/envelope"
)

// Headers of a dead letter, besides those of the event itself. Part of the
// wire. Texts are percent-encoded as CloudEvents attributes are.
const (
	HeaderDeadReason       = "Agner-Dead-Reason"       // invalid, undecodable, exhausted, rejected, killed
	HeaderDeadError        = "Agner-Dead-Error"        // text of the last error, bounded
	HeaderDeadStack        = "Agner-Dead-Stack"        // of a panic or a hung handler, bounded
	HeaderDeadAttempts     = "Agner-Dead-Attempts"     // runs of the handler
	HeaderDeadRound        = "Agner-Dead-Round"        // replays before this death
	HeaderDeadGroup        = "Agner-Dead-Group"        // group that gave up
	HeaderDeadSubscription = "Agner-Dead-Subscription" // its subscription
	HeaderDeadDurable      = "Agner-Dead-Durable"      // its durable
	HeaderDeadInstance     = "Agner-Dead-Instance"     // instance that ran it last
	HeaderDeadStream       = "Agner-Dead-Stream"       // where the event stands
	HeaderDeadSequence     = "Agner-Dead-Sequence"     // and its sequence there
	HeaderDeadCreated      = "Agner-Dead-Created"      // creation of that stream, ns since 1970
	HeaderDeadSubject      = "Agner-Dead-Subject"      // subject it was stored under
	HeaderDeadFirst        = "Agner-Dead-First"        // time of the first failure
	HeaderDeadLast         = "Agner-Dead-Last"         // time of the last one
	HeaderDeadOmitted      = "Agner-Dead-Omitted"      // "body" or "body,headers": too large to copy
	HeaderDeadRedacted     = "Agner-Dead-Redacted"     // "body", "headers" or "body,headers": changed by Config.Redact
	HeaderDeadHistory      = "Agner-Dead-History"      // one for each earlier death, the last four at most
)

// Bounds of the texts that a dead letter carries.
const (
	maxDeadError = 1 << 10
	maxDeadStack = 6 << 10
)

// toDead stores the dead letter of a delivery: the event as it stands, or as
// Config.Redact left it, and why it died.
func (l *loop) toDead(ctx context.Context, d *delivery, a *attempt, v verdict) error {
	letter, key, redacted := l.letter(d, a, v)
	why := l.obituary(a, v, &letter)
	if redacted != "" {
		why[HeaderDeadRedacted] = []string{redacted}
	}
	if key != a.origin.key {
		why[HeaderDeadSubject] = []string{a.origin.subject[:strings.LastIndexByte(a.origin.subject, '.')+1] + key}
	}
	id := a.deadID(l.durableName)
	h := letter.Header
	maps.Copy(h, why)
	m := &nats.Msg{Subject: l.ns.Dead(l.cfg.Group, a.event.Type, key), Header: h, Data: letter.Data}
	h[jetstream.MsgIDHeader] = []string{inGeneration(id, math.MaxUint64)} // as long as it may become
	if envelope.HeaderSize(h) > maxHeaderBytes {
		// Its own headers leave no room for ours: keep what happened, and
		// where the event stands.
		m.Header = why
		m.Header[HeaderDeadOmitted] = []string{"body,headers"}
		m.Data = nil
	} else if int64(envelope.HeaderSize(h)+len(m.Data)) > l.js.Conn().MaxPayload() {
		h[HeaderDeadOmitted] = []string{"body"}
		m.Data = nil
	}
	if err := l.storeOnce(ctx, m, id); err != nil {
		return fmt.Errorf("store dead letter in %s: %w", m.Subject, err)
	}
	return nil
}

func (l *loop) obituary(a *attempt, v verdict, letter *Letter) nats.Header {
	now := time.Now().UTC()
	first := a.origin.first
	if first.IsZero() {
		first = now
	}
	h := nats.Header{
		HeaderDeadReason:       {v.reason},
		HeaderDeadError:        {text(letter.Error, maxDeadError)},
		HeaderDeadAttempts:     {strconv.Itoa(l.runs(a, v))},
		HeaderDeadRound:        {strconv.Itoa(a.origin.round)},
		HeaderDeadGroup:        {l.cfg.Group},
		HeaderDeadSubscription: {l.sub.name},
		HeaderDeadDurable:      {l.durableName},
		HeaderDeadInstance:     {l.cfg.Instance},
		HeaderDeadStream:       {a.origin.stream},
		HeaderDeadSequence:     {strconv.FormatUint(a.origin.sequence, 10)},
		HeaderDeadCreated:      {strconv.FormatInt(a.origin.created, 10)},
		HeaderDeadSubject:      {a.origin.subject},
		HeaderDeadFirst:        {first.UTC().Format(time.RFC3339Nano)},
		HeaderDeadLast:         {now.Format(time.RFC3339Nano)},
	}
	if letter.Stack != "" {
		h[HeaderDeadStack] = []string{text(letter.Stack, maxDeadStack)}
	}
	if len(a.origin.history) > 0 {
		h[HeaderDeadHistory] = a.origin.history
	}
	return h
}

// stackOf is the stack that an error of a handler carries, if any.
func stackOf(err error) string {
	var panicked *PanicError
	var hung *HungError
	switch {
	case errors.As(err, &panicked):
		return string(panicked.Stack)
	case errors.As(err, &hung):
		return hung.Stack
	}
	return ""
}

// runs is how often the handler ran: what never reached it died without.
func (l *loop) runs(a *attempt, v verdict) int {
	if v.reason == reasonInvalid || v.reason == reasonUndecodable {
		return a.number - 1
	}
	return a.number
}

// deadID identifies one death: without the round, the second death of a
// replayed event would be dropped as a duplicate of the first.
func (a *attempt) deadID(durable string) string {
	return fmt.Sprintf("%s.%d.%d.%s.%d", a.origin.stream, a.origin.created, a.origin.sequence, durable, a.origin.round)
}

// text makes any text a header value: bounded, and encoded so that line breaks
// survive.
func text(s string, most int) string {
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return envelope.EscapeHeader(strings.ToValidUTF8(s, "\uFFFD"))
}
