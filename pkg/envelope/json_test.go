package envelope_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/agner-go/agner/pkg/envelope"
)

func TestJSONText(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	members := func(n int, last string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"m%d":0,`, i)
		}
		return "{" + b.String() + `"` + last + `":0}`
	}
	for text, rule := range map[string]error{
		`null`: nil, `true`: nil, `false`: nil, `0`: nil, `-0`: nil, `1.5e+10`: nil, `1E-2`: nil, `""`: nil, "[ ]": nil, "{\t}": nil,
		`{"a":{"a":[{"a":1},{"a":2}]},"b":[]}`:  nil,
		`"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00é"`: nil,
		`{"a":1,"A":2}`:                         nil,
		`"` + "\u2028\ufffe" + `"`:              nil, // data may hold what attributes may not
		deep(envelope.MaxJSONDepth):             nil,
		members(100, "last"):                    nil,

		deep(envelope.MaxJSONDepth + 1):                  envelope.ErrJSONDepth,
		strings.Repeat(`{"a":`, envelope.MaxJSONDepth+1): envelope.ErrJSONDepth,
		`{"a":1,"a":1}`:              envelope.ErrJSONDuplicate,
		`[{"b":{"a":1,"\u0061":2}}]`: envelope.ErrJSONDuplicate,
		`{"\/":1,"/":2}`:             envelope.ErrJSONDuplicate,
		`{"\ud83d\ude00":1,"😀":2}`:   envelope.ErrJSONDuplicate,
		`{"":1,"":2}`:                envelope.ErrJSONDuplicate,
		members(100, "m3"):           envelope.ErrJSONDuplicate,
		members(15, "m14"):           envelope.ErrJSONDuplicate,
		members(16, "m0"):            envelope.ErrJSONDuplicate,
		members(17, "m16"):           envelope.ErrJSONDuplicate,
		"\"\xff\"":                   envelope.ErrJSONUTF8,
		"\"\xc0\xa0\"":               envelope.ErrJSONUTF8,
		"\"\xed\xa0\x80\"":           envelope.ErrJSONUTF8,
		"{\"\xff\":1}":               envelope.ErrJSONUTF8,
		`"\ud800"`:                   envelope.ErrJSONSurrogate,
		`"\udc00"`:                   envelope.ErrJSONSurrogate,
		`"\ud800\ud800"`:             envelope.ErrJSONSurrogate,
		`"\ud800x"`:                  envelope.ErrJSONSurrogate,
		`"\ud800\n"`:                 envelope.ErrJSONSurrogate,
		`"\ud800\u12"`:               envelope.ErrJSONSurrogate,
		"\ufeff{}":                   envelope.ErrJSONSyntax,
	} {
		requireText(t, text, rule)
	}
	for _, text := range []string{"[" + strings.Repeat("[],{},", envelope.MaxJSONDepth) + "0]", " [ ] ", "\n{}\t", "\r 1 "} {
		requireText(t, text, nil)
	}
	for _, text := range []string{
		"", " ", "{", "}", "[", "]", `"`, `"a`, `"\`, `"\u12`, `"\u12g4"`, `"\x"`, "\"\n\"", "\"\x00\"", "\x00", "nul", "nulll", "True", "NaN", "Infinity",
		"01", "-", "+1", ".5", "1.", "1e", "1e+", "--1", "0x1", "1_0", "1 2", "{} {}", "{},", "[1,]", "[,1]", "[1 2]", `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`,
		`{a:1}`, `{1:1}`, `{"a" 1}`, `{"a":1 "b":2}`, "[1}", `{"a":1]`, "// x\n1", "'a'", "1\x00",
	} {
		requireText(t, text, envelope.ErrJSONSyntax)
	}
}

// requireText wants a text accepted or refused, and the same from
// encoding/json where the rule is one of its own.
func requireText(t *testing.T, text string, rule error) {
	t.Helper()
	var raw json.RawMessage
	err := envelope.JSON{}.Decode([]byte(text), &raw)
	if !errors.Is(err, rule) {
		t.Errorf("%.60q: %v, want %v", text, err, rule)
	}
	if je, ok := errors.AsType[*envelope.JSONError](err); err != nil && (!ok || je.Offset < 0 || je.Offset > len(text)) {
		t.Errorf("%.60q: %v is not a *JSONError within the text", text, err)
	}
	if valid := json.Valid([]byte(text)); valid != (rule == nil) && (rule == nil || errors.Is(rule, envelope.ErrJSONSyntax)) {
		t.Errorf("%.60q: encoding/json says %v", text, valid)
	}
}

func TestJSONDecode(t *testing.T) {
	t.Parallel()
	type inner struct {
		N int8    `json:"n"`
		F float32 `json:"f"`
	}
	for _, tc := range []struct {
		text string
		into any
		rule error
	}{
		{`{"n":127,"f":1.5,"unknown":{"x":[]}}`, new(inner), nil},
		{`{"n":128}`, new(inner), envelope.ErrJSONNumber},
		{`{"n":1.5}`, new(inner), envelope.ErrJSONNumber},
		{`{"f":1e39}`, new(inner), envelope.ErrJSONNumber},
		{`1e400`, new(any), envelope.ErrJSONNumber},
		{`1e400`, new(json.Number), nil},
		{`{"n":"1"}`, new(inner), envelope.ErrJSONType},
		{`[]`, new(inner), envelope.ErrJSONType},
		{`null`, new(inner), envelope.ErrJSONType},
		{` null `, new(*inner), envelope.ErrJSONType},
		{`null`, new(any), nil},
		{`null`, new(map[string]int), nil},
		{`null`, new([]int), nil},
		{`null`, new(json.RawMessage), nil},
		{`null`, new(nullable), nil},
		{`{}`, new(*inner), nil},
	} {
		if err := (envelope.JSON{}).Decode([]byte(tc.text), tc.into); !errors.Is(err, tc.rule) {
			t.Errorf("%s into %T: %v, want %v", tc.text, tc.into, err, tc.rule)
		}
	}
	for _, v := range []any{nil, 1, (*int)(nil)} {
		err := envelope.JSON{}.Decode([]byte("null"), v)
		if _, ok := errors.AsType[*json.InvalidUnmarshalError](err); !ok {
			t.Errorf("into %T: %v, want encoding/json's own words for a caller's mistake", v, err)
		}
	}
}

type nullable struct{ null bool }

func (n *nullable) UnmarshalJSON(b []byte) error {
	n.null = string(b) == "null"
	return nil
}

func TestJSONEncode(t *testing.T) {
	t.Parallel()
	type boxed struct {
		S string            `json:"s,omitempty"`
		M map[string]string `json:"m,omitempty"`
		L []any             `json:"l,omitempty"`
		P *boxed            `json:"p,omitempty"`
		B []byte            `json:"b,omitempty"`
	}
	for _, tc := range []struct {
		v    any
		want string
		rule error
	}{
		{boxed{S: "é\ufffd"}, "{\"s\":\"é\ufffd\"}", nil},
		{boxed{S: `\ufffd`}, `{"s":"\\ufffd"}`, nil},
		{boxed{S: "\xff"}, "", envelope.ErrJSONUTF8},
		{boxed{M: map[string]string{"\xff": ""}}, "", envelope.ErrJSONUTF8},
		{boxed{M: map[string]string{"": "\xff"}}, "", envelope.ErrJSONUTF8},
		{boxed{L: []any{1, "\xff"}}, "", envelope.ErrJSONUTF8},
		{[1]*boxed{{P: &boxed{S: "\xff"}}}, "", envelope.ErrJSONUTF8},
		{boxed{B: []byte{0xff}}, `{"b":"/w=="}`, nil},
		{json.RawMessage(`["\ufffd"]`), `["\ufffd"]`, nil},
		{json.RawMessage(`{"a":1,"a":2}`), "", envelope.ErrJSONDuplicate},
		{json.RawMessage("\"\xff\""), "", envelope.ErrJSONUTF8},
		{json.RawMessage(`"\ud800"`), "", envelope.ErrJSONSurrogate},
		{nil, "null", nil},
	} {
		got, err := envelope.JSON{}.Encode(tc.v)
		if !errors.Is(err, tc.rule) || string(got) != tc.want {
			t.Errorf("%#v: %s, %v; want %s, %v", tc.v, got, err, tc.want, tc.rule)
		}
	}
	if _, err := (envelope.JSON{}).Encode(func() {}); err == nil {
		t.Error("a func was encoded")
	}
}
