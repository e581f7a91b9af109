package subject

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrType reports an event type that gives no legal subject tokens.
	ErrType = errors.New("event type cannot be a subject")
	// ErrPattern reports a type pattern that is neither a type nor a family.
	ErrPattern = errors.New("event type pattern is not valid")
	// ErrSubject reports a subject that is not an event's.
	ErrSubject = errors.New("not the subject of an event")
)

// Type encodes the tokens of an event type, each on its own: the dots stay.
// A type with an empty token ("a..b", ".a") gives no legal subject and is
// refused with ErrType.
func Type(typ string) (string, error) {
	if typ == "" {
		return "", fmt.Errorf("type is empty: %w", ErrType)
	}
	n, start := 0, 0
	for i := 0; i <= len(typ); i++ {
		if i < len(typ) && typ[i] != '.' {
			if literal(typ[i]) {
				n++
			} else {
				n += 3
			}
			continue
		}
		if i == start {
			return "", fmt.Errorf("type %q has an empty part between dots: %w", typ, ErrType)
		}
		start = i + 1
		n++
	}
	if n--; n == len(typ) {
		return typ, nil
	}
	b := make([]byte, 0, n)
	for i := range len(typ) {
		if typ[i] == '.' {
			b = append(b, '.')
		} else {
			b = appendByte(b, typ[i])
		}
	}
	return string(b), nil
}

// Event builds `events.<type>.<key>` within ns. A key too long for MaxLen is
// hashed; a type too long is refused with ErrType.
func (ns Namespace) Event(typ, key string) (string, error) {
	const prefix = "events."
	t, err := Type(typ)
	if err != nil {
		return "", err
	}
	room := MaxLen - len(ns.prefix()) - len(prefix) - len(t) - 1
	if room < hashedLen {
		return "", fmt.Errorf("type of %d bytes leaves no room for a key in a subject of %d: %w", len(typ), MaxLen, ErrType)
	}
	return ns.prefix() + prefix + t + "." + Key(key, room), nil
}

// Dead builds `dead.<group>.<type>.<key>` from an event's type and the key
// token of its subject. What gives no legal or bounded subject, as an event
// whose type cannot be read, goes to `dead.<group>._invalid._`.
func (ns Namespace) Dead(group, typ, keyToken string) string {
	prefix := ns.prefix() + "dead." + group + "."
	t, err := Type(typ)
	if err != nil || len(t) > MaxLen {
		t = "_invalid"
	}
	return prefix + t + "." + boundToken(keyToken)
}

// boundToken keeps the key token of a foreign subject, which may be as long as
// a control line, from lengthening ours beyond one.
func boundToken(token string) string {
	switch {
	case token == "":
		return NoKey
	case len(token) > MaxLen:
		return hashed(token)
	}
	return token
}

// ParseEvent splits an event's subject into its type, decoded, and its key
// token as it stands.
func (ns Namespace) ParseEvent(subj string) (typ, keyToken string, err error) {
	rest, ok := strings.CutPrefix(subj, ns.prefix()+"events.")
	if !ok {
		return "", "", fmt.Errorf("subject %q: %w", subj, ErrSubject)
	}
	i := strings.LastIndexByte(rest, '.')
	if i <= 0 || i == len(rest)-1 {
		return "", "", fmt.Errorf("subject %q has no type or no key: %w", subj, ErrSubject)
	}
	typ, err = decodeTokens(rest[:i])
	if err != nil {
		return "", "", fmt.Errorf("subject %q: %w", subj, err)
	}
	return typ, rest[i+1:], nil
}

func decodeTokens(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	parts := strings.Split(s, ".")
	for i, p := range parts {
		d, err := DecodeToken(p)
		if err != nil {
			return "", err
		}
		parts[i] = d
	}
	return strings.Join(parts, "."), nil
}

// Filter turns a type pattern into the subject filter of a durable. A type
// ("shop.order.placed.v1") matches itself with every key, a family
// ("shop.>", or ">" for all) every type below it, and '*' stands for one part
// of a type ("shop.*.placed.v1"). Wildcards stand only as whole parts.
func (ns Namespace) Filter(pattern string) (string, error) {
	parts := strings.Split(pattern, ".")
	for i, p := range parts {
		switch {
		case p == "":
			return "", fmt.Errorf("pattern %q has an empty part: %w", pattern, ErrPattern)
		case p == ">" && i == len(parts)-1:
			return ns.prefix() + "events." + strings.Join(parts, "."), nil
		case p == "*":
		default:
			parts[i] = Token(p)
		}
	}
	f := ns.prefix() + "events." + strings.Join(parts, ".") + ".*"
	if len(f) > MaxLen {
		return "", fmt.Errorf("pattern of %d bytes gives a subject over %d: %w", len(pattern), MaxLen, ErrPattern)
	}
	return f, nil
}

// IsPattern tells whether a type pattern holds a wildcard.
func IsPattern(pattern string) bool {
	for p := range strings.SplitSeq(pattern, ".") {
		if p == "*" || p == ">" {
			return true
		}
	}
	return false
}
