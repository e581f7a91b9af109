package consume

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/subject"
)

// Letter is a dead letter on its way to the stream DEAD, as Config.Redact gets
// it: copies, to be changed at will. The event in EVENTS stays as it is.
type Letter struct {
	// Type and Reason say what died and of what; changes have no effect.
	Type, Reason string

	// Key is the event's. Subjects carry it: one that is changed, or emptied,
	// is so in the subjects and the attribute partitionkey of the letter.
	Key string

	// Header holds the event's own headers. Of what is added, Nats-* and
	// Agner-* are left out again.
	Header nats.Header

	// Data is the event's body.
	Data []byte

	// Error is the text of the error, Stack that of a panic or a hung handler.
	Error, Stack string
}

// headerPartitionKey is the attribute that carries the key in binary mode.
const headerPartitionKey = "ce-partitionkey"

// letter is what a delivery leaves behind, once Config.Redact has seen it.
func (l *loop) letter(d *delivery, a *attempt, v verdict) (out Letter, keyToken, redacted string) {
	key := a.event.Key
	if key == "" {
		key, _, _ = subject.DecodeKey(a.origin.key) // a hashed one stays unknown
	}
	out = Letter{
		Type: a.event.Type, Reason: v.reason, Key: key,
		Header: own(d.msg.Header), Data: d.msg.Data,
		Error: v.err.Error(), Stack: stackOf(v.err),
	}
	if l.cfg.Redact == nil {
		return out, a.origin.key, ""
	}
	before := out
	out.Header, out.Data = cloneHeader(out.Header), bytes.Clone(out.Data)
	if err := redact(l.cfg.Redact, &out); err != nil {
		l.log.Error("Redact failed; the dead letter is kept without the event's key, headers and body", "event", a.event.ID, "error", err)
		out = Letter{Type: before.Type, Reason: before.Reason, Error: err.Error()}
	}
	out.Header = own(out.Header)
	keyToken = a.origin.key
	if out.Key != before.Key {
		keyToken = subject.Key(out.Key, maxKeyToken)
		rekey(out.Header, out.Key)
	}
	var changed []string
	if !bytes.Equal(out.Data, before.Data) {
		changed = append(changed, "body")
	}
	if keyToken != a.origin.key || !maps.EqualFunc(out.Header, before.Header, slices.Equal[[]string]) {
		changed = append(changed, "headers")
	}
	return out, keyToken, strings.Join(changed, ",")
}

// maxKeyToken bounds the token of a key that Redact chose.
const maxKeyToken = subject.MaxLen / 4

// redact calls the user's hook; one that panics must neither end the process nor
// let through what it should have taken out.
func redact(hook func(*Letter), letter *Letter) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("hook Redact panicked: %v", v)
		}
	}()
	hook(letter)
	return nil
}

func rekey(h nats.Header, key string) {
	for name := range h {
		if strings.EqualFold(name, headerPartitionKey) {
			delete(h, name)
		}
	}
	if key != "" {
		h[headerPartitionKey] = []string{text(key, maxDeadError)}
	}
}

// own are the headers that a dead letter takes over: the event's, less those of
// an earlier death.
func own(h nats.Header) nats.Header {
	out := foreign(h)
	maps.DeleteFunc(out, func(k string, _ []string) bool { return hasPrefixFold(k, "Agner-Dead-") })
	return out
}

func cloneHeader(h nats.Header) nats.Header {
	out := make(nats.Header, len(h))
	for name, values := range h {
		out[name] = slices.Clone(values)
	}
	return out
}
