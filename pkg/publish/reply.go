package publish

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A reply subject ends in a token of 48 bits: the slot in the table (16), the
// publish that holds it (24) and the attempt (8), in eight digits of 64. So an
// acknowledgement that comes late can neither settle a later event in the same
// slot, nor can an error of an earlier attempt be taken for one of the current.
// Short subjects are worth it: each goes there and back with every event.
const (
	tokenLen   = 8
	serialBits = 24
)

type token struct {
	slot    uint16
	serial  uint32 // of serialBits
	attempt uint8
}

// tokenDigits are legal in a subject and in their ASCII order.
const tokenDigits = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

func appendToken(b []byte, t token) []byte {
	v := uint64(t.slot)<<32 | uint64(t.serial)<<8 | uint64(t.attempt)
	for shift := 6 * (tokenLen - 1); shift >= 0; shift -= 6 {
		b = append(b, tokenDigits[v>>shift&63])
	}
	return b
}

func parseToken(s string) (token, bool) {
	if len(s) != tokenLen {
		return token{}, false
	}
	var v uint64
	for i := range len(s) {
		digit, ok := tokenDigit(s[i])
		if !ok {
			return token{}, false
		}
		v = v<<6 | digit
	}
	return token{slot: uint16(v >> 32), serial: uint32(v>>8) & (1<<serialBits - 1), attempt: uint8(v)}, true
}

func tokenDigit(c byte) (uint64, bool) {
	switch {
	case c == '-':
		return 0, true
	case '0' <= c && c <= '9':
		return uint64(c-'0') + 1, true
	case 'A' <= c && c <= 'Z':
		return uint64(c-'A') + 11, true
	case c == '_':
		return 37, true
	case 'a' <= c && c <= 'z':
		return uint64(c-'a') + 38, true
	}
	return 0, false
}

// reply is what the server said to one message.
type reply struct {
	kind      replyKind
	stream    []byte // of an acknowledgement; shares memory with the message
	sequence  uint64
	duplicate bool
	err       error  // of a refusal
	reason    string // of a refusal: the server's code and text
}

type replyKind uint8

const (
	replyForeign   replyKind = iota // no answer of a stream: someone else listens on the subject
	replyStaged                     // a batch's message is staged; the commit is yet to come
	replyStored                     // stored, or a duplicate of what is stored
	replyTransient                  // refused, and worth another attempt
	replyRefused                    // refused for good
	replyInProcess                  // refused because a copy is being stored right now
	replyKnownIDs                   // a batch refused because an id of it is known
)

// Codes of the server, as of nats-server 2.15 (server/errors.json).
const (
	codeInsufficientResources jetstream.ErrorCode = 10023
	codeStoreFailed           jetstream.ErrorCode = 10077
	codeAccountResources      jetstream.ErrorCode = 10002
	codeMessageTooLarge       jetstream.ErrorCode = 10054
	codeHeaderTooLarge        jetstream.ErrorCode = 10097
	codeDuplicateInProcess    jetstream.ErrorCode = 10158
	codeRollupFailed          jetstream.ErrorCode = 10111
	codeBatchDisabled         jetstream.ErrorCode = 10174
	codeBatchIncomplete       jetstream.ErrorCode = 10176
	codeBatchTooLarge         jetstream.ErrorCode = 10199
	codeBatchKnownIDs         jetstream.ErrorCode = 10201
)

func readReply(m *nats.Msg) reply {
	if len(m.Data) == 0 {
		switch m.Header.Get("Status") {
		case "":
			return reply{kind: replyStaged}
		case "503":
			return reply{kind: replyTransient, err: ErrNoStream, reason: "503 no responders"}
		}
		return reply{kind: replyForeign}
	}
	if r, ok := scanAck(m.Data); ok {
		return r
	}
	return readUnusual(m.Data)
}

// readUnusual reads errors, and acknowledgements in a form that scanAck does
// not know.
func readUnusual(data []byte) reply {
	var body struct {
		Error *jetstream.APIError `json:"error"`
		jetstream.PubAck
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return reply{kind: replyForeign}
	}
	if body.Error == nil {
		if body.Stream == "" || body.Sequence == 0 {
			return reply{kind: replyForeign}
		}
		return reply{kind: replyStored, stream: []byte(body.Stream), sequence: body.Sequence, duplicate: body.Duplicate}
	}
	return readRefusal(body.Error)
}

func readRefusal(e *jetstream.APIError) reply {
	r := reply{kind: replyRefused, err: e, reason: fmt.Sprintf("%d %s", e.ErrorCode, e.Description)}
	switch {
	case e.ErrorCode == codeStoreFailed && strings.Contains(e.Description, "maximum"), e.ErrorCode == codeAccountResources:
		r.err = fmt.Errorf("%w: %w", ErrFull, e)
	case e.ErrorCode == codeMessageTooLarge, e.ErrorCode == codeHeaderTooLarge, e.ErrorCode == codeBatchTooLarge,
		e.ErrorCode == codeStoreFailed && strings.Contains(e.Description, "too large"):
		r.err = fmt.Errorf("%w: %w", ErrTooLarge, e)
	case e.ErrorCode == codeInsufficientResources:
		r.kind, r.err = replyTransient, fmt.Errorf("%w: %w", ErrFull, e)
	case e.ErrorCode == codeDuplicateInProcess:
		r.kind = replyInProcess
	case e.ErrorCode == codeBatchKnownIDs:
		r.kind = replyKnownIDs
	case e.ErrorCode == codeBatchIncomplete, e.Code == 503, e.Code == 429:
		r.kind = replyTransient
	}
	return r
}

// scanAck reads an acknowledgement as the server writes it,
//
//	{"stream":"EVENTS","domain":"d", "seq":12,"duplicate": true}
//
// without allocating; encoding/json would cost more than all else on the way
// back. Whatever looks different is left to readUnusual.
func scanAck(b []byte) (r reply, ok bool) {
	s := ackScanner{b: b}
	if !s.take('{') {
		return r, false
	}
	for {
		name, ok := s.text()
		if !ok || !s.take(':') {
			return r, false
		}
		switch string(name) {
		case "stream":
			r.stream, ok = s.text()
		case "domain", "batch":
			_, ok = s.text()
		case "seq":
			r.sequence, ok = s.number()
		case "count":
			_, ok = s.number()
		case "duplicate":
			r.duplicate, ok = s.boolean()
		default:
			ok = false
		}
		if !ok {
			return r, false
		}
		if s.take(',') {
			continue
		}
		if !s.take('}') || s.i != len(b) || len(r.stream) == 0 || r.sequence == 0 {
			return r, false
		}
		r.kind = replyStored
		return r, true
	}
}

type ackScanner struct {
	b []byte
	i int
}

// take skips spaces and then c, if it is there.
func (s *ackScanner) take(c byte) bool {
	for s.i < len(s.b) && s.b[s.i] == ' ' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// text reads a string without escapes.
func (s *ackScanner) text() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	start := s.i
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[start : s.i-1], true
		case c == '\\' || c < ' ' || c > '~':
			return nil, false
		}
	}
	return nil, false
}

// number reads an unsigned integer of at most 19 digits, which cannot overflow.
func (s *ackScanner) number() (uint64, bool) {
	s.take(' ')
	start := s.i
	var v uint64
	for s.i < len(s.b) && '0' <= s.b[s.i] && s.b[s.i] <= '9' {
		v = v*10 + uint64(s.b[s.i]-'0')
		s.i++
	}
	n := s.i - start
	return v, n == 1 || n > 1 && n < 20 && s.b[start] != '0'
}

func (s *ackScanner) boolean() (v, ok bool) {
	s.take(' ')
	rest := string(s.b[s.i:min(s.i+5, len(s.b))])
	switch {
	case strings.HasPrefix(rest, "true"):
		s.i += 4
		return true, true
	case rest == "false":
		s.i += 5
		return false, true
	}
	return false, false
}
