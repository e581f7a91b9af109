package subject

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// MaxLen is the greatest length, in bytes, of a subject that Agner builds. The
// server closes the whole connection on a control line beyond 4,096 bytes, so
// the bound leaves room for the prefixes of retries and dead letters.
const MaxLen = 1024

// NoKey is the key token of an event without a key. A key that is literally
// "_" is encoded, so the two never meet.
const NoKey = "_"

// hashMark leads the token of a key too long to be written out. Token always
// encodes '~', so no written key starts with it.
const hashMark = '~'

// ErrToken reports a token that is not a percent-encoded one.
var ErrToken = errors.New("not a percent-encoded token")

const upperHex = "0123456789ABCDEF"

// literal tells whether c stands for itself in a token: letters, digits, '-'
// and '_'. All else is percent-encoded, which makes every token legal, without
// wildcards, and readable.
func literal(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// EncodedLen is the length of Token(raw).
func EncodedLen(raw string) int {
	n := len(raw)
	for i := range len(raw) {
		if !literal(raw[i]) {
			n += 2
		}
	}
	return n
}

// Token percent-encodes raw into one subject token. An empty raw gives an
// empty token, which is no legal one: callers decide what empty means.
func Token(raw string) string {
	n := EncodedLen(raw)
	if n == len(raw) {
		return raw
	}
	b := make([]byte, 0, n)
	for i := range len(raw) {
		b = appendByte(b, raw[i])
	}
	return string(b)
}

func appendByte(b []byte, c byte) []byte {
	if literal(c) {
		return append(b, c)
	}
	return append(b, '%', upperHex[c>>4], upperHex[c&15])
}

// DecodeToken is the inverse of Token. It accepts lower-case hex and needless
// escapes, and refuses a '%' that two hex digits do not follow.
func DecodeToken(token string) (string, error) {
	if !strings.Contains(token, "%") {
		return token, nil
	}
	b := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		if token[i] != '%' {
			b = append(b, token[i])
			continue
		}
		if i+2 >= len(token) {
			return "", fmt.Errorf("subject token %q: escape cut short: %w", token, ErrToken)
		}
		hi, ok1 := unhex(token[i+1])
		lo, ok2 := unhex(token[i+2])
		if !ok1 || !ok2 {
			return "", fmt.Errorf("subject token %q: '%%' without two hex digits: %w", token, ErrToken)
		}
		b = append(b, hi<<4|lo)
		i += 2
	}
	return string(b), nil
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// Key encodes an event's key into its token: NoKey for none, the hash form for
// one whose encoding would exceed room bytes.
func Key(key string, room int) string {
	switch {
	case key == "":
		return NoKey
	case key == NoKey:
		return "%5F"
	case EncodedLen(key) > room:
		return hashed(key)
	}
	return Token(key)
}

// DecodeKey returns the key that a token stands for; ok is false for a hashed
// one, whose key only the event's partitionkey attribute knows.
func DecodeKey(token string) (key string, ok bool, err error) {
	if token == NoKey {
		return "", true, nil
	}
	if token != "" && token[0] == hashMark {
		return "", false, nil
	}
	key, err = DecodeToken(token)
	return key, err == nil, err
}

// hashedLen is the length of a hashed key token: the mark and 32 bytes in
// base32 without padding.
const hashedLen = 1 + 52

func hashed(key string) string {
	sum := sha256.Sum256([]byte(key))
	return string(hashMark) + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
}
