package envelope

import "unicode/utf8"

// checkText applies the rule of the CloudEvents type String: Unicode without
// control characters (U+0000–U+001F, U+007F–U+009F), noncharacters and lone
// surrogates; the last cannot stand in valid UTF-8.
func checkText(name, s string) error {
	if isPlain(s) {
		return nil
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || !isTextRune(r) {
			return attributeError(name, ErrText, s[i:], nil)
		}
		i += n
	}
	return nil
}

func isTextRune(r rune) bool {
	switch {
	case r < 0x20, 0x7f <= r && r <= 0x9f:
		return false
	case 0xfdd0 <= r && r <= 0xfdef, r&0xfffe == 0xfffe:
		return false
	}
	return true
}

// isPlain tells whether every byte of s stands for itself in a header value,
// which also makes s legal text. Nearly all values are plain, and each is
// looked at several times, so it goes by eight bytes at once.
func isPlain(s string) bool {
	for len(s) >= 8 {
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		if !isPlainWord(w) {
			return false
		}
		s = s[8:]
	}
	for i := range len(s) {
		if mustEscape(s[i]) {
			return false
		}
	}
	return true
}

// isPlainWord is mustEscape for eight bytes: it sets the high bit of each byte
// that is out of range, or zero once xored with a byte that is not allowed.
func isPlainWord(w uint64) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	low := (w - 0x21*ones) &^ w
	del := w | (w + ones)
	quote := w ^ '"'*ones
	percent := w ^ '%'*ones
	equal := (quote-ones)&^quote | (percent-ones)&^percent
	return (low|del|equal)&high == 0
}

// in tells whether an ASCII byte is in the set whose bits are lo, for the
// bytes below 64, and hi, for those above.
func in(c byte, lo, hi uint64) bool {
	if c < 64 {
		return lo>>c&1 != 0
	}
	return c < 128 && hi>>(c-64)&1 != 0
}

// Sets of bytes for in.
const (
	digitBits  = (1<<10 - 1) << '0'                        // lo
	letterBits = (1<<26-1)<<('a'-64) | (1<<26-1)<<('A'-64) // hi
	hostLo     = digitBits | subDelims | 1<<'-' | 1<<'.'   // RFC 3986 unreserved and sub-delims
	hostHi     = letterBits | 1<<('_'-64) | 1<<('~'-64)    //
	subDelims  = 1<<'!' | 1<<'$' | 1<<'&' | 1<<'\'' | 1<<'(' | 1<<')' | 1<<'*' | 1<<'+' | 1<<',' | 1<<';' | 1<<'='
	userLo     = hostLo | 1<<':'
	pathLo     = userLo | 1<<'/'
	pathHi     = hostHi | 1<<('@'-64)
	queryLo    = pathLo | 1<<'?'
	schemeLo   = digitBits | 1<<'+' | 1<<'-' | 1<<'.'
	tokenLo    = (1<<64 - 1) &^ (1<<33 - 1) &^ (1<<'(' | 1<<')' | 1<<'<' | 1<<'>' | 1<<',' | 1<<';' | 1<<':' | 1<<'"' | 1<<'/' | 1<<'?' | 1<<'=')
	tokenHi    = (1<<63 - 1) &^ (1<<('@'-64) | 1<<('\\'-64) | 1<<('['-64) | 1<<(']'-64))
)
