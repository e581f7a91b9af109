package envelope_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
)

// requireSound wants of any message: no panic, a typed error or an event that
// both modes write and read as an equal one.
func requireSound(t *testing.T, msg *nats.Msg) {
	t.Helper()
	e, err := envelope.Unmarshal(msg)
	if err != nil {
		if !isTyped(err) {
			t.Fatalf("untyped error %v", err)
		}
		if len(err.Error()) > 2000 {
			t.Fatalf("an error of %d bytes", len(err.Error()))
		}
		return
	}
	requireRoundTrip(t, &e)
	for _, d := range []func(*envelope.Codecs, *envelope.Raw) error{decodeAs[any], decodeAs[order], decodeAs[string]} {
		if err := d(nil, &e); err != nil {
			if _, ok := errors.AsType[*envelope.DataError](err); !ok {
				t.Fatalf("untyped error %v", err)
			}
		}
	}
}

func decodeAs[T any](c *envelope.Codecs, e *envelope.Raw) error {
	_, err := envelope.DecodeData[T](c, e)
	return err
}

func FuzzUnmarshalBinary(f *testing.F) {
	for _, tc := range attributeCases() {
		if tc.header != none {
			f.Add("ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\nce-"+tc.attr+": "+tc.header+"\r\n", []byte("1"))
		}
	}
	f.Add("CE-SPECVERSION: 1.0\r\nCe-Id: 1\r\nce-id: 1\r\n", []byte(nil))
	f.Add("content-type: application/cloudevents+json\r\nce-id: 1\r\n", document(nil))
	f.Fuzz(func(t *testing.T, block string, body []byte) {
		header, err := nats.DecodeHeadersMsg([]byte("NATS/1.0\r\n" + block + "\r\n"))
		if err != nil {
			return // nats.go drops such a message
		}
		requireSound(t, &nats.Msg{Subject: "events.t._", Header: header, Data: body})
	})
}

func FuzzUnmarshalStructured(f *testing.F) {
	for _, tc := range attributeCases() {
		if tc.json != none {
			f.Add(document(map[string]string{tc.attr: tc.json}), true)
		}
	}
	f.Add(document(m("data", `{"a":[1.50,null]}`)), false)
	f.Add(document(m("data_base64", `"\/+8="`, "datacontenttype", `"application/json"`)), true)
	f.Add(document(m("data", `"\ud83d\ude00"`, "datacontenttype", `"text/plain; charset=utf-8"`)), true)
	f.Fuzz(func(t *testing.T, body []byte, declared bool) {
		msg := structured(body)
		if !declared {
			msg.Header = nil
		}
		requireSound(t, msg)
	})
}

// FuzzHeaderValue takes any value there and back: what is read is written in
// such a way that it is read the same again.
func FuzzHeaderValue(f *testing.F) {
	for _, tc := range attributeCases() {
		if tc.header != none {
			f.Add(tc.header)
		}
	}
	f.Fuzz(func(t *testing.T, value string) {
		e, err := envelope.Unmarshal(&nats.Msg{Header: headers(map[string]string{"ce-x": value})})
		if err != nil {
			if _, ok := errors.AsType[*envelope.AttributeError](err); !ok && !errors.Is(err, envelope.ErrTooLarge) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		requireRoundTrip(t, &e)
		// The other way: the value as it is, where it is legal text.
		e.Extensions[0].Value = value
		if e.Validate() == nil {
			requireRoundTrip(t, &e)
		}
	})
}

// FuzzSubject takes subjects apart and puts them together again.
func FuzzSubject(f *testing.F) {
	for _, s := range []string{
		"events.shop.order.placed.v1.o-1", "events.t._", "events.t.%5F", "events.a%20b.%2A.%C3%BC", "events.a.x%2Ey", "events.a.%7Ex",
		"events..a", "events.a.", "events.a", "events.%.a", "dead.g.t.k", "events.a.~" + strings.Repeat("A", 52), "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subj string) {
		var ns subject.Namespace
		typ, token, err := ns.ParseEvent(subj)
		if err != nil {
			if !errors.Is(err, subject.ErrSubject) && !errors.Is(err, subject.ErrToken) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		key, ok, err := subject.DecodeKey(token)
		if err != nil || !ok {
			return
		}
		again, err := ns.Event(typ, key)
		if err != nil {
			if !errors.Is(err, subject.ErrType) {
				t.Fatalf("untyped error %v", err)
			}
			return // "events..a" has a type that no writer can have
		}
		typ2, token2, err := ns.ParseEvent(again)
		if err != nil || typ2 != typ {
			t.Fatalf("%q -> %q -> %q: type %q -> %q, %v", subj, typ, again, typ, typ2, err)
		}
		if key2, ok, err := subject.DecodeKey(token2); err != nil || ok && key2 != key {
			t.Fatalf("%q -> %q: key %q -> %q, %v", subj, again, key, key2, err)
		}
	})
}

// FuzzJSON holds the scanner against encoding/json: it takes nothing that is
// not JSON, and what only it refuses breaks a rule that encoding/json has not.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{"a":[1.5e+10,-0,true,false,null,"\u00e9\ud83d\ude00\n"]}`, `{"a":1,"\u0061":2}`, `"\ud800"`, "\"\xff\"", "[[[[", " 1 ", "\ufeff1",
		`{"a":{"b":{"c":[]}},"d":1,"d":2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var raw json.RawMessage
		err := envelope.JSON{}.Decode(text, &raw)
		valid := json.Valid(text)
		switch {
		case err == nil && !valid:
			t.Fatalf("%q is not JSON and was taken", text)
		case err == nil:
		case errors.Is(err, envelope.ErrJSONSyntax) && valid:
			t.Fatalf("%q is JSON and was refused: %v", text, err)
		default:
			if _, ok := errors.AsType[*envelope.JSONError](err); !ok {
				t.Fatalf("untyped error %v", err)
			}
		}
	})
}
