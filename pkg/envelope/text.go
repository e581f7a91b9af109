package envelope

import "unicode/utf8"

// checkText applies the rule of the CloudEvents type String: Unicode without
// control characters (U+0000–U+001F, U+007F–U+009F), noncharacters and lone
// surrogates; the last cannot stand in valid UTF-8.
func checkText(name, s string) error {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			return checkRunes(name, s, i)
		}
	}
	return nil
}

func checkRunes(name, s string, from int) error {
	for i := from; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || !allowedRune(r) {
			return attributeError(name, ErrText, s[i:], nil)
		}
		i += n
	}
	return nil
}

func allowedRune(r rune) bool {
	switch {
	case r < 0x20, 0x7f <= r && r <= 0x9f:
		return false
	case 0xfdd0 <= r && r <= 0xfdef, r&0xfffe == 0xfffe:
		return false
	}
	return true
}
