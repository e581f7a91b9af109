package envelope_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

type order struct {
	ID    string `json:"id"`
	Cents int64  `json:"cents"`
}

// words is a codec of the test's own.
type words struct{ contentType string }

func (w words) ContentType() string { return w.contentType }

func (words) Encode(v any) ([]byte, error) {
	s, ok := v.([]string)
	if !ok {
		return nil, errors.New("words are []string")
	}
	return []byte(strings.Join(s, " ")), nil
}

func (words) Decode(data []byte, v any) error {
	s, ok := v.(*[]string)
	if !ok {
		return errors.New("words are []string")
	}
	*s = strings.Fields(string(data))
	return nil
}

func TestCodecsFor(t *testing.T) {
	t.Parallel()
	var none *envelope.Codecs
	own := envelope.NewCodecs(nil, words{"text/words; v=1"}, words{"Application/X+Json"}, words{"application/octet-stream"})
	replaced := envelope.NewCodecs(words{"text/plain"}, words{"application/json"})
	for _, tc := range []struct {
		codecs      *envelope.Codecs
		contentType string
		want        string // "" for ErrNoCodec
	}{
		{none, "", "application/json"},
		{none, "application/json", "application/json"},
		{none, " Application/JSON ; charset=utf-8", "application/json"},
		{none, "application/vnd.x+json", "application/json"},
		{none, "application/octet-stream", "application/octet-stream"},
		{none, "text/plain", ""},
		{none, "nonsense", ""},
		{none, "a/+jsonx", ""},
		{&envelope.Codecs{}, "application/json", "application/json"},
		{envelope.NewCodecs(), "application/json", "application/json"},
		{own, "TEXT/WORDS", "text/words; v=1"},
		{own, "application/x+json", "Application/X+Json"},
		{own, "application/y+json", "application/json"},
		{replaced, "", "application/json"},
		{replaced, "a/b+json", "application/json"},
	} {
		codec, err := tc.codecs.For(tc.contentType)
		if tc.want == "" {
			if !errors.Is(err, envelope.ErrNoCodec) {
				t.Errorf("%q: %v, want ErrNoCodec", tc.contentType, err)
			}
			continue
		}
		if err != nil || codec.ContentType() != tc.want {
			t.Errorf("%q: %v, %v; want %q", tc.contentType, codec, err, tc.want)
		}
	}
	if c, err := replaced.For("x/y+json"); err != nil || c != envelope.Codec(words{"application/json"}) {
		t.Errorf("a registered application/json does not stand for +json: %v, %v", c, err)
	}
}

func TestDecodeData(t *testing.T) {
	t.Parallel()
	e := least()
	e.Extensions = []envelope.Extension{{Name: "x", Value: "y"}}
	e.Delivery = envelope.Delivery{Stream: "EVENTS", Sequence: 7, Attempt: 2}
	e.Data = []byte(`{"id":"o-1","cents":500}`)

	got, err := envelope.DecodeData[order](nil, &e)
	if err != nil || got.Data != (order{"o-1", 500}) {
		t.Fatalf("%+v, %v", got.Data, err)
	}
	if got.ID != e.ID || got.Extensions[0] != e.Extensions[0] || got.Delivery.Sequence != 7 || got.Delivery.Attempt != 2 {
		t.Errorf("attributes or delivery lost: %+v", got)
	}
	pointer, err := envelope.DecodeData[*order](nil, &e)
	if err != nil || *pointer.Data != (order{"o-1", 500}) {
		t.Errorf("pointer: %+v, %v", pointer.Data, err)
	}

	// Bytes come untouched, whatever they claim to be.
	e.DataContentType, e.Data = "application/json", []byte("\xff not JSON ")
	raw, err := envelope.DecodeData[[]byte](nil, &e)
	if err != nil || &raw.Data[0] != &e.Data[0] || len(raw.Data) != len(e.Data) {
		t.Errorf("raw: %q, %v", raw.Data, err)
	}

	for _, tc := range []struct {
		contentType, data string
		cause             error
	}{
		{"application/json", "{", envelope.ErrJSONSyntax},
		{"application/json", "", envelope.ErrJSONSyntax},
		{"", "", envelope.ErrJSONSyntax},
		{"", "null", envelope.ErrJSONType},
		{"application/json", `{"id":"a","id":"b"}`, envelope.ErrJSONDuplicate},
		{"application/json", `{"cents":1e30}`, envelope.ErrJSONNumber},
		{"text/plain", "a", envelope.ErrNoCodec},
		{"application/octet-stream", "a", nil},
	} {
		e.DataContentType, e.Data = tc.contentType, []byte(tc.data)
		got, err := envelope.DecodeData[order](nil, &e)
		de, ok := errors.AsType[*envelope.DataError](err)
		if !ok || de.ContentType != tc.contentType || de.GoType != "envelope_test.order" {
			t.Errorf("%q %q: %v is not the *DataError of it", tc.contentType, tc.data, err)
			continue
		}
		if tc.cause != nil && !errors.Is(err, tc.cause) {
			t.Errorf("%q %q: %v, want %v", tc.contentType, tc.data, err, tc.cause)
		}
		if got.ID != "" {
			t.Errorf("%q %q: an event came with the error", tc.contentType, tc.data)
		}
	}

	e.DataContentType, e.Data = "text/words", []byte("a b")
	list, err := envelope.DecodeData[[]string](envelope.NewCodecs(words{"text/words"}), &e)
	if err != nil || len(list.Data) != 2 {
		t.Errorf("own codec: %v, %v", list.Data, err)
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	var c envelope.Bytes
	for _, v := range []any{[]byte("a\xff"), "a\xff"} {
		if b, err := c.Encode(v); err != nil || string(b) != "a\xff" {
			t.Errorf("Encode(%T) = %q, %v", v, b, err)
		}
	}
	if _, err := c.Encode(1); err == nil {
		t.Error("an int was encoded")
	}
	var b []byte
	var s string
	if err := errors.Join(c.Decode([]byte("x"), &b), c.Decode([]byte("y"), &s)); err != nil || string(b) != "x" || s != "y" {
		t.Errorf("%q, %q, %v", b, s, err)
	}
	if err := c.Decode([]byte("x"), new(int)); err == nil {
		t.Error("an int was decoded")
	}
}

// TestErrorsAreBounded: an error text goes into logs and dead-letter headers,
// and must not take a value of the wire there in full.
func TestErrorsAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("9", 100_000)
	e := least()
	for _, data := range []string{`{"cents":` + long + `}`, `{"id":"a` + long} {
		e.Data = []byte(data)
		if _, err := envelope.DecodeData[order](nil, &e); err == nil || len(err.Error()) > 1000 {
			t.Errorf("%.40s: error of %d bytes", data, len(err.Error()))
		}
	}
	e.Data = []byte(`"` + long + `é"`)
	if _, err := envelope.DecodeData[time.Time](nil, &e); err == nil || len(err.Error()) > 1000 || !utf8.ValidString(err.Error()) {
		t.Errorf("time: error of %d bytes", len(err.Error()))
	}
	for name, msg := range map[string]*nats.Msg{
		"value":        {Header: headers(map[string]string{"ce-time": strings.Repeat("é", 50_000)})},
		"name":         {Header: headers(map[string]string{"ce-_" + long: ""})},
		"content type": {Header: nats.Header{"content-type": {"application/cloudevents+" + long}}},
		"subject":      {Subject: long},
		"member":       structured(document(map[string]string{"_" + long: "1"})),
		"number":       structured(document(map[string]string{"x": long})),
		"data type":    structured(document(map[string]string{"datacontenttype": `"a/b;charset=` + long[:2000] + `"`, "data": `"x"`})),
	} {
		if _, err := envelope.Unmarshal(msg); err == nil || len(err.Error()) > 1000 || !utf8.ValidString(err.Error()) {
			t.Errorf("%s: error of %d bytes", name, len(err.Error()))
		}
	}
}
