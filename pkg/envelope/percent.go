package envelope

import (
	"strings"
	"unicode/utf8"
)

const upperHex = "0123456789ABCDEF"

// mustEscape tells whether the NATS binding (section 3.1.3.2) wants a byte of
// a header value percent-encoded: space, '"', '%' and all outside U+0021 to
// U+007E.
func mustEscape(c byte) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '%' }

func escapedLen(s string) int {
	n := len(s)
	if isPlain(s) {
		return n
	}
	for i := range len(s) {
		if mustEscape(s[i]) {
			n += 2
		}
	}
	return n
}

// escape makes a header value of s.
func escape(s string) string {
	n := escapedLen(s)
	if n == len(s) {
		return s
	}
	b := make([]byte, 0, n)
	for i := range len(s) {
		if c := s[i]; mustEscape(c) {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// unescape reads a header value: surrounding white space off, a quoted string
// unquoted, one round of percent-decoding. What writers that do not encode may
// send is taken as it stands: raw spaces and UTF-8, a '%' that two hex digits
// do not follow, a '"' that is not part of one quoted string. ok is false when
// the result is not UTF-8.
func unescape(s string) (value string, ok bool) {
	s = unquote(strings.Trim(s, " \t"))
	if !strings.Contains(s, "%") {
		return s, utf8.ValidString(s)
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, ok1 := unhex(s[i+1])
			lo, ok2 := unhex(s[i+2])
			if ok1 && ok2 {
				b = append(b, hi<<4|lo)
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b), utf8.Valid(b)
}

// unquote takes the quotes and backslashes off a value that is one quoted
// string of RFC 7230 section 3.2.6, and returns any other unchanged.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 1; i < len(s)-1; i++ {
		switch s[i] {
		case '"':
			return s
		case '\\':
			if i++; i == len(s)-1 {
				return s
			}
		}
		b = append(b, s[i])
	}
	return string(b)
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
