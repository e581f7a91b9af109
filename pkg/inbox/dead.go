package inbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/envelope"
)

// Reasons of dead letters.
const (
	reasonInvalid     = "invalid"
	reasonUndecodable = "undecodable"
	reasonExhausted   = "exhausted"
	reasonRejected    = "rejected"
)

// Bounds of what a dead letter carries of us.
const (
	maxDeadError = 1 << 10
	maxDeadStack = 6 << 10
	maxHeader    = 65_535 // of the server
)

// bury stores a message as a dead letter, and only then goes on to the next. It
// tries until that has succeeded or the run is over.
func (r *run) bury(l *letter, reason string, cause error, attempts int) error {
	m := r.deadLetter(l, reason, cause, attempts)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		ctx, cancel := context.WithTimeout(r.e.base, requestTimeout)
		_, err := r.e.in.js.PublishMsg(ctx, m)
		cancel()
		if err == nil {
			break
		}
		r.e.log.Error("dead letter cannot be stored; trying again", "partition", r.part, "sequence", l.seq, "error", err)
		if !r.rest(wait) {
			return nil
		}
	}
	r.e.counters.dead.Add(1)
	r.e.log.Warn("message is a dead letter", "partition", r.part, "entity", l.key, "type", l.raw.Type, "sequence", l.seq, "reason", reason, "error", cause)
	var reply *answer
	if h := r.e.in.handlers[l.raw.Type]; h != nil && h.answer {
		reply = r.e.answerTo(l, nil, cause)
	}
	return r.accept(l, nil, &call{}, nil, false, reply)
}

// deadLetter is the message as it stands, and why it died. The id makes it one,
// however often it is stored.
func (r *run) deadLetter(l *letter, reason string, cause error, attempts int) *nats.Msg {
	now := time.Now().UTC().Format(time.RFC3339Nano)
	why := nats.Header{
		"Agner-Dead-Reason":       {reason},
		"Agner-Dead-Error":        {bounded(cause.Error(), maxDeadError)},
		"Agner-Dead-Attempts":     {strconv.Itoa(attempts)},
		"Agner-Dead-Round":        {"0"},
		"Agner-Dead-Group":        {r.e.in.cfg.Name},
		"Agner-Dead-Subscription": {"inbox"},
		"Agner-Dead-Instance":     {r.e.in.cfg.Instance},
		"Agner-Dead-Stream":       {r.e.mailStream},
		"Agner-Dead-Sequence":     {strconv.FormatUint(l.seq, 10)},
		"Agner-Dead-Created":      {strconv.FormatInt(r.e.mailCreated, 10)},
		"Agner-Dead-Subject":      {l.msg.Subject},
		"Agner-Dead-First":        {now},
		"Agner-Dead-Last":         {now},
		jetstream.MsgIDHeader:     {fmt.Sprintf("%s.%d.%d", r.e.mailStream, r.e.mailCreated, l.seq)},
	}
	if panicked, ok := errors.AsType[*PanicError](cause); ok {
		why["Agner-Dead-Stack"] = []string{bounded(string(panicked.Stack), maxDeadStack)}
	}
	token := l.msg.Subject[strings.LastIndexByte(l.msg.Subject, '.')+1:]
	m := &nats.Msg{Subject: r.e.in.ns.Dead(r.e.in.cfg.Name, l.raw.Type, token), Data: l.msg.Data}
	h := make(nats.Header, len(l.msg.Header)+len(why))
	for k, v := range l.msg.Header {
		if !hasPrefixFold(k, "Nats-") && !hasPrefixFold(k, "Agner-Dead-") {
			h[k] = v
		}
	}
	maps.Copy(h, why)
	m.Header = h
	limit := r.e.nc.MaxPayload()
	if envelope.HeaderSize(h) > maxHeader {
		why["Agner-Dead-Omitted"] = []string{"body,headers"}
		m.Header, m.Data = why, nil
	} else if limit > 0 && int64(envelope.HeaderSize(h)+len(m.Data)) > limit {
		h["Agner-Dead-Omitted"] = []string{"body"}
		m.Data = nil
	}
	return m
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func bounded(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return envelope.EscapeHeader(strings.ToValidUTF8(s, "\uFFFD"))
}

func escapeKey(key string) string { return envelope.EscapeHeader(strings.ToValidUTF8(key, "\uFFFD")) }

func unescapeKey(value string) string {
	key, _ := envelope.UnescapeHeader(value)
	return key
}
