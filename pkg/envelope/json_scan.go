package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxJSONDepth bounds how deep arrays and objects nest in JSON data and
// structured events. Real events stay below ten; other readers give up at
// depths from 64 on.
const MaxJSONDepth = 256

// Rules that a JSON text can break. A *JSONError matches its rule with
// errors.Is.
var (
	ErrJSONSyntax    = errors.New("is not one JSON value (RFC 8259)")
	ErrJSONUTF8      = errors.New("is not UTF-8")
	ErrJSONSurrogate = errors.New("holds half of a surrogate pair")
	ErrJSONDuplicate = errors.New("names a member twice")
	ErrJSONDepth     = errors.New("nests too deep")
	ErrJSONNumber    = errors.New("holds a number that the Go type cannot")
	ErrJSONType      = errors.New("does not fit the Go type")
)

// JSONError reports a JSON text that this package does not read or write.
// encoding/json would take the first four of its rules silently: it turns what
// is not Unicode into U+FFFD, and of two members keeps the last.
type JSONError struct {
	Offset int   // byte of the text at which the rule was broken
	Rule   error // ErrJSONSyntax, ErrJSONDuplicate, …
	Err    error // the error of encoding/json, or nil
}

func (e *JSONError) Error() string {
	s := fmt.Sprintf("JSON text %v, at byte %d", e.Rule, e.Offset)
	if e.Err != nil {
		s += ": " + boundedError(e.Err)
	}
	return s
}

// Unwrap gives the rule and the cause.
func (e *JSONError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Rule}
	}
	return []error{e.Rule, e.Err}
}

// checkJSON accepts one JSON value that breaks no rule, nested in outer levels.
func checkJSON(text []byte, outer int) error {
	// Room for the names of most texts at once: growing from nothing would
	// allocate four times for an object of five members.
	s := jsonScanner{text: text, depth: outer, names: make([][]byte, 0, 8)}
	s.space()
	if err := s.value(); err != nil {
		return err
	}
	return s.end()
}

// member is one member of a JSON object: its name decoded, its value as it
// stands in the text.
type member struct{ name, value []byte }

// jsonMembers scans a text that is one object. With an error it gives the
// members before it.
func jsonMembers(text []byte) ([]member, error) {
	s := jsonScanner{text: text}
	s.space()
	if s.peek() != '{' {
		return nil, s.fail(ErrJSONSyntax)
	}
	members := make([]member, 0, 16)
	if err := s.object(&members); err != nil {
		return members, err
	}
	return members, s.end()
}

// jsonScanner checks a text byte for byte; it builds no values.
type jsonScanner struct {
	text  []byte
	pos   int
	depth int
	names [][]byte // names of the members of all objects now open
}

func (s *jsonScanner) fail(rule error) error { return &JSONError{Offset: s.pos, Rule: rule} }

// peek gives the next byte, 0 at the end; a 0 in the text is legal nowhere.
func (s *jsonScanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *jsonScanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

func (s *jsonScanner) end() error {
	if s.space(); s.pos < len(s.text) {
		return s.fail(ErrJSONSyntax)
	}
	return nil
}

func (s *jsonScanner) value() error {
	switch c := s.peek(); c {
	case '{':
		return s.object(nil)
	case '[':
		return s.array()
	case '"':
		_, err := s.str()
		return err
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

func (s *jsonScanner) literal(word string) error {
	if !bytes.HasPrefix(s.text[s.pos:], []byte(word)) {
		return s.fail(ErrJSONSyntax)
	}
	s.pos += len(word)
	return nil
}

func (s *jsonScanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return s.fail(ErrJSONSyntax)
	}
	if s.peek() == '.' {
		if s.pos++; !s.digits() {
			return s.fail(ErrJSONSyntax)
		}
	}
	if s.peek()|0x20 == 'e' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.fail(ErrJSONSyntax)
		}
	}
	return nil
}

func (s *jsonScanner) digits() bool {
	from := s.pos
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > from
}

// enter steps over an opening bracket and tells whether the closing one
// follows at once.
func (s *jsonScanner) enter(closing byte) (empty bool, err error) {
	if s.depth++; s.depth > MaxJSONDepth {
		return false, s.fail(ErrJSONDepth)
	}
	s.pos++
	if s.space(); s.peek() == closing {
		s.pos++
		s.depth--
		return true, nil
	}
	return false, nil
}

// next steps over what follows an element: a comma, or the closing bracket.
func (s *jsonScanner) next(closing byte) (done bool, err error) {
	s.space()
	switch s.peek() {
	case ',':
		s.pos++
		s.space()
		return false, nil
	case closing:
		s.pos++
		s.depth--
		return true, nil
	}
	return false, s.fail(ErrJSONSyntax)
}

func (s *jsonScanner) array() error {
	done, err := s.enter(']')
	for !done && err == nil {
		if err = s.value(); err == nil {
			done, err = s.next(']')
		}
	}
	return err
}

// object scans an object, and collects its members where members is not nil.
func (s *jsonScanner) object(members *[]member) error {
	open := len(s.names)
	var index map[string]struct{}
	done, err := s.enter('}')
	for !done && err == nil {
		var m member
		if m, err = s.member(); err != nil {
			break
		}
		if index, err = s.unique(open, m.name, index); err != nil {
			break
		}
		s.names = append(s.names, m.name)
		from := s.pos
		if err = s.value(); err != nil {
			break
		}
		if members != nil {
			m.value = s.text[from:s.pos]
			*members = append(*members, m)
		}
		done, err = s.next('}')
	}
	s.names = s.names[:open]
	return err
}

// member scans a member up to its value.
func (s *jsonScanner) member() (m member, err error) {
	if s.peek() != '"' {
		return m, s.fail(ErrJSONSyntax)
	}
	from := s.pos
	escaped, err := s.str()
	if err != nil {
		return m, err
	}
	if m.name = s.text[from+1 : s.pos-1]; escaped {
		m.name = unquoteJSON(s.text[from:s.pos])
	}
	if s.space(); s.peek() != ':' {
		return m, s.fail(ErrJSONSyntax)
	}
	s.pos++
	s.space()
	return m, nil
}

// fewNames is up to how many members of an object are compared one by one;
// beyond, a map keeps the cost of hostile texts linear.
const fewNames = 16

func (s *jsonScanner) unique(open int, name []byte, index map[string]struct{}) (map[string]struct{}, error) {
	names := s.names[open:]
	if len(names) < fewNames {
		for _, n := range names {
			if bytes.Equal(n, name) {
				return nil, s.fail(ErrJSONDuplicate)
			}
		}
		return nil, nil
	}
	if index == nil {
		index = make(map[string]struct{}, 2*fewNames)
		for _, n := range names {
			index[string(n)] = struct{}{}
		}
	}
	if _, twice := index[string(name)]; twice {
		return nil, s.fail(ErrJSONDuplicate)
	}
	index[string(name)] = struct{}{}
	return index, nil
}

// str scans a string, quotes included, and tells whether it holds escapes.
func (s *jsonScanner) str() (escaped bool, err error) {
	for s.pos++; s.pos < len(s.text); {
		switch c := s.text[s.pos]; {
		case c == '"':
			s.pos++
			return escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return false, err
			}
		case c < ' ':
			return false, s.fail(ErrJSONSyntax)
		case c < utf8.RuneSelf:
			s.pos++
		default:
			r, n := utf8.DecodeRune(s.text[s.pos:])
			if r == utf8.RuneError && n == 1 {
				return false, s.fail(ErrJSONUTF8)
			}
			s.pos += n
		}
	}
	return false, s.fail(ErrJSONSyntax)
}

func (s *jsonScanner) escape() error {
	s.pos++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
	default:
		return s.fail(ErrJSONSyntax)
	}
	r, ok := hexRune(s.text[s.pos+1:])
	if !ok {
		return s.fail(ErrJSONSyntax)
	}
	if utf16.IsSurrogate(r) {
		low := s.text[s.pos+5:]
		if len(low) < 2 || low[0] != '\\' || low[1] != 'u' {
			return s.fail(ErrJSONSurrogate)
		}
		r2, ok := hexRune(low[2:])
		if !ok || utf16.DecodeRune(r, r2) == utf8.RuneError {
			return s.fail(ErrJSONSurrogate)
		}
		s.pos += 6
	}
	s.pos += 5
	return nil
}

// hexRune reads the four digits of a \u escape.
func hexRune(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		d, ok := unhex(c)
		if !ok {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}

// unquoteJSON decodes a string that was scanned, quotes included.
func unquoteJSON(quoted []byte) []byte {
	q := quoted[1 : len(quoted)-1]
	i := bytes.IndexByte(q, '\\')
	if i < 0 {
		return q
	}
	b := slices.Grow([]byte(nil), len(q))
	for ; i >= 0; i = bytes.IndexByte(q, '\\') {
		b = append(b, q[:i]...)
		c := q[i+1]
		q = q[i+2:]
		if c != 'u' {
			b = append(b, unescapeJSON(c))
			continue
		}
		r, _ := hexRune(q)
		q = q[4:]
		if utf16.IsSurrogate(r) {
			low, _ := hexRune(q[2:])
			r = utf16.DecodeRune(r, low)
			q = q[6:]
		}
		b = utf8.AppendRune(b, r)
	}
	return append(b, q...)
}

func unescapeJSON(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c // '"', '\\' and '/' stand for themselves
}
