package envelope

import "strings"

// isMediaType checks the grammar of RFC 2045 section 5.1: type "/" subtype and
// parameters. mime.ParseMediaType is not used: it takes a bare word and
// allocates a map for each event.
func isMediaType(s string) bool {
	i := tokenLen(s)
	if i == 0 || i == len(s) || s[i] != '/' {
		return false
	}
	s = s[i+1:]
	if i = tokenLen(s); i == 0 {
		return false
	}
	for s = s[i:]; s != ""; {
		_, _, rest, ok := nextParameter(s)
		if !ok {
			return false
		}
		s = rest
	}
	return true
}

// nextParameter takes `; name=value` off s, white space around the semicolon
// allowed. A quoted value keeps its quotes.
func nextParameter(s string) (name, value, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t")
	if s == "" || s[0] != ';' {
		return "", "", s, false
	}
	s = strings.TrimLeft(s[1:], " \t")
	i := tokenLen(s)
	if i == 0 || i == len(s) || s[i] != '=' {
		return "", "", s, false
	}
	name, s = s[:i], s[i+1:]
	if i = tokenLen(s); i == 0 {
		i = quotedLen(s)
	}
	return name, s[:i], s[i:], i > 0
}

// tokenLen is the length of the token that s starts with: printable ASCII
// without spaces and tspecials.
func tokenLen(s string) int {
	for i := range len(s) {
		if !in(s[i], tokenLo, tokenHi) {
			return i
		}
	}
	return len(s)
}

// quotedLen is the length of the quoted string that s starts with, or 0.
func quotedLen(s string) int {
	if s == "" || s[0] != '"' {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			i++
		case c != '\t' && c < ' ', c >= 0x7f:
			return 0
		}
	}
	return 0
}

// mediaType is a content type without its parameters, as it is written.
func mediaType(contentType string) string {
	m, _, _ := strings.Cut(contentType, ";")
	return strings.Trim(m, " \t")
}

// declaresJSON tells whether a content type is JSON by the rule of the JSON
// event format, section 3.1.1: */json or */*+json.
func declaresJSON(contentType string) bool {
	m := mediaType(contentType)
	i := strings.IndexByte(m, '/')
	return i > 0 && (strings.EqualFold(m[i+1:], "json") || len(m) > i+6 && strings.EqualFold(m[len(m)-5:], "+json"))
}
