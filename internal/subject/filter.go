package subject

import (
	"fmt"
	"strings"
)

// maxTypeParts bounds the parts of a type for which the server finds a key in
// types of any number of parts: NATS has no wildcard for "some parts, then
// this one", so that each number of them is a filter of its own.
const maxTypeParts = 16

// Keyed narrows the filter of a type, or family, to one key. exact is false
// where subjects cannot tell: a key so long that it may be hashed, which depends
// on the type; the caller then compares the events' own keys.
func Keyed(filter, key string) (filters []string, exact bool) {
	if EncodedLen(key) > MaxLen/4 {
		return []string{filter}, false
	}
	token := Key(key, MaxLen)
	if base, one := strings.CutSuffix(filter, "*"); one {
		return []string{base + token}, true
	}
	base := strings.TrimSuffix(filter, ">")
	for range maxTypeParts {
		base += "*."
		filters = append(filters, base+token)
	}
	return filters, true
}

// DeadFilter is the filter of the dead letters of a group, or of all groups if
// it is empty, whose types match a pattern as [Namespace.Filter] has it.
func (ns Namespace) DeadFilter(group, pattern string) (string, error) {
	if group == "" {
		group = "*"
	} else if err := CheckName("group", group); err != nil {
		return "", err
	}
	f, err := ns.Filter(pattern)
	if err != nil {
		return "", err
	}
	return ns.prefix() + "dead." + group + "." + strings.TrimPrefix(f, ns.prefix()+"events."), nil
}

// ParseDead splits the subject of a dead letter into its group, its type,
// decoded, and its key token as it stands. The type of an event whose type could
// not be read is "_invalid".
func (ns Namespace) ParseDead(subj string) (group, typ, keyToken string, err error) {
	rest, ok := strings.CutPrefix(subj, ns.prefix()+"dead.")
	group, rest, parted := strings.Cut(rest, ".")
	i := strings.LastIndexByte(rest, '.')
	if !ok || !parted || i <= 0 || i == len(rest)-1 {
		return "", "", "", fmt.Errorf("subject %q is no dead letter's: %w", subj, ErrSubject)
	}
	if typ, err = decodeTokens(rest[:i]); err != nil {
		return "", "", "", fmt.Errorf("subject %q: %w", subj, err)
	}
	return group, typ, rest[i+1:], nil
}

// SafeKey is a key token of a subject that somebody else wrote, or NoKey if it
// is no token that Agner would write.
func SafeKey(token string) string {
	written := strings.TrimPrefix(token, string(hashMark))
	for i := range len(written) {
		if !literal(written[i]) && written[i] != '%' {
			return NoKey
		}
	}
	return boundToken(token)
}
