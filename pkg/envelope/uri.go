package envelope

import (
	"net/netip"
	"strings"
)

// isURIReference checks the grammar of RFC 3986 section 4.1 (a URI or a
// relative reference). net/url is not used: it takes what the RFC does not
// (spaces, non-ASCII) and costs an allocation for each event.
func isURIReference(s string) bool {
	s, frag, hasFrag := strings.Cut(s, "#")
	if hasFrag && !isURIChars(frag, queryLo, pathHi) {
		return false
	}
	if scheme, rest, ok := strings.Cut(s, ":"); ok && isScheme(scheme) {
		return isHierPart(rest)
	}
	// A relative reference: no colon in the first segment of its path.
	first, _, _ := strings.Cut(s, "/")
	first, _, _ = strings.Cut(first, "?")
	return !strings.Contains(first, ":") && isHierPart(s)
}

// isAbsoluteURI checks the grammar of RFC 3986 section 4.3: with a scheme,
// without a fragment.
func isAbsoluteURI(s string) bool {
	scheme, rest, ok := strings.Cut(s, ":")
	return ok && isScheme(scheme) && isHierPart(rest) // which has no '#' either
}

func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !in(c, schemeLo, letterBits) || i == 0 && c < 'A' {
			return false
		}
	}
	return s != ""
}

// isHierPart checks what follows a scheme: authority, path and query.
func isHierPart(s string) bool {
	s, query, _ := strings.Cut(s, "?")
	if !isURIChars(query, queryLo, pathHi) {
		return false
	}
	if rest, ok := strings.CutPrefix(s, "//"); ok {
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			i = len(rest)
		}
		if !isAuthority(rest[:i]) {
			return false
		}
		s = rest[i:]
	}
	return isURIChars(s, pathLo, pathHi)
}

func isAuthority(s string) bool {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		if !isURIChars(s[:i], userLo, hostHi) {
			return false
		}
		s = s[i+1:]
	}
	if strings.HasPrefix(s, "[") {
		literal, port, ok := strings.Cut(s[1:], "]")
		return ok && isIPLiteral(literal) && (port == "" || port[0] == ':' && isDigits(port[1:]))
	}
	host, port, _ := strings.Cut(s, ":")
	return isDigits(port) && isURIChars(host, hostLo, hostHi)
}

// isIPLiteral checks what stands between the brackets of a host: an IPv6
// address, or an IPvFuture ("v1.x").
func isIPLiteral(s string) bool {
	if s != "" && s[0]|0x20 == 'v' {
		version, rest, ok := strings.Cut(s[1:], ".")
		for i := range len(version) {
			if _, hex := unhex(version[i]); !hex {
				return false
			}
		}
		return ok && version != "" && rest != "" && !strings.Contains(rest, "%") && isURIChars(rest, userLo, hostHi)
	}
	addr, err := netip.ParseAddr(s)
	return err == nil && addr.Is6() && addr.Zone() == ""
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// isURIChars tells whether s is made of a set of bytes and percent-encoded
// ones.
func isURIChars(s string, lo, hi uint64) bool {
	for i := 0; i < len(s); i++ {
		if in(s[i], lo, hi) {
			continue
		}
		if s[i] != '%' || i+2 >= len(s) {
			return false
		}
		_, ok1 := unhex(s[i+1])
		_, ok2 := unhex(s[i+2])
		if !ok1 || !ok2 {
			return false
		}
		i += 2
	}
	return true
}
