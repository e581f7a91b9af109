package test_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

// otherDifference is one that takes more than a message to be seen.
type otherDifference struct {
	row  int // in docs/wire.md
	name string
	show func(t *testing.T, c *carrier)
}

func TestOtherDifferences(t *testing.T) {
	c := newCarrier(t)
	for _, d := range otherDifferences() {
		t.Run(fmt.Sprintf("%d %s", d.row, d.name), func(t *testing.T) { d.show(t, c) })
	}
}

func otherDifferences() []otherDifference {
	return []otherDifference{
		{1, "writes rich text", crosses("Euro €", "Euro €", "Euro%20%E2%82%AC", "Euro €")},
		{1, "writes what looks encoded", crosses("100%41", "100A", "100%2541", "100%41")},
		{1, "writes what looks quoted", crosses(`"a"`, "a", `%22a%22`, `"a"`)},
		{1, "writes spaces around", crosses(" a ", "a", "%20a%20", " a ")},
		{1, "writes a line break", crosses("a\r\nb", "a  b", "", "")},
		{26, "writes bytes", crosses([]byte{0, 1, 254}, "[0 1 254]", "AAH+", "AAH+")},
		{25, "writes a time as an extension", crosses(inZone(), "2026-08-20T10:00:00Z", "2026-08-20T10:00:00Z", "2026-08-20T10:00:00Z")},
		{5, "two spellings", twoSpellings},
		{6, "two content types", twoContentTypes},
		{8, "headers of a structured event", structuredHeaders},
		{12, "white space in the setters", trimmedBySetters},
		{24, "offset of time", offsetOfTime},
		{28, "types of extensions", typesOfExtensions},
		{33, "object under +json", objectUnderJSON},
	}
}

// inZone is a time that stands for another text in UTC.
func inZone() time.Time { return time.Date(2026, 8, 20, 12, 0, 0, 0, time.FixedZone("", 7200)) }

func offsetOfTime(t *testing.T, _ *carrier) {
	t.Helper()
	e := minimal()
	e.SetTime(inZone())
	inBoth(t, e, `2026-08-20T12:00:00+02:00`, `"time":"2026-08-20T10:00:00Z"`, `"time":"2026-08-20T12:00:00+02:00"`)
}

func objectUnderJSON(t *testing.T, _ *carrier) {
	t.Helper()
	e := minimal()
	if err := e.SetData("application/vnd.x+json", json.RawMessage(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	inBoth(t, e, "", `"data":"{\"a\":1}"`, `"data":{"a":1}`)
}

func minimal() event.Event {
	e := event.New()
	e.SetID("1")
	e.SetSource("/s")
	e.SetType("t")
	return e
}

// crosses sends an extension's value by the SDK and by Agner; Agner reads both.
// An empty header means that Agner refuses the value.
func crosses(value any, fromSDK, ownHeader, fromOwn string) func(*testing.T, *carrier) {
	return func(t *testing.T, c *carrier) {
		t.Helper()
		e := minimal()
		e.SetExtension("x", value)
		header, body, err := sdkWrite(t.Context(), &e)
		if err != nil {
			t.Fatal(err)
		}
		if got := readX(t, c, header, body); got != fromSDK {
			t.Errorf("from the SDK arrives %q, want %q", got, fromSDK)
		}

		msg, err := marshal(e)
		if ownHeader == "" {
			if !errors.Is(err, envelope.ErrText) {
				t.Errorf("Agner does not refuse it: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := msg.Header.Get("ce-x"); got != ownHeader {
			t.Errorf("Agner writes %q, want %q", got, ownHeader)
		}
		if got := readX(t, c, msg.Header, msg.Data); got != fromOwn {
			t.Errorf("from Agner arrives %q, want %q", got, fromOwn)
		}
	}
}

func marshal(e event.Event) (*nats.Msg, error) {
	raw, err := envelope.FromSDK(e)
	if err != nil {
		return nil, err
	}
	return envelope.Marshal(&raw)
}

func readX(t *testing.T, c *carrier, h nats.Header, body []byte) string {
	t.Helper()
	e, err := envelope.Unmarshal(c.carry(t, h, body))
	if err != nil {
		t.Fatal(err)
	}
	x, _ := e.Extension("x")
	return x
}

// inBoth writes an event in both modes: the SDK's time header in binary mode,
// if any is wanted, and a part of each side's structured body.
func inBoth(t *testing.T, e event.Event, timeHeader, sdkPart, ownPart string) {
	t.Helper()
	if timeHeader != "" {
		header, _, err := sdkWrite(t.Context(), &e)
		if err != nil || header.Get("ce-time") != timeHeader {
			t.Errorf("the SDK writes ce-time %q, %v, want %q", header.Get("ce-time"), err, timeHeader)
		}
	}
	_, body, err := sdkWrite(binding.WithForceStructured(t.Context()), &e)
	if err != nil || !strings.Contains(string(body), sdkPart) {
		t.Errorf("the SDK writes %s, %v, want %s in it", body, err, sdkPart)
	}
	raw, err := envelope.FromSDK(e)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := envelope.MarshalStructured(&raw)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(msg.Data), ownPart) {
		t.Errorf("Agner writes %s, want %s in it", msg.Data, ownPart)
	}
}

func twoSpellings(t *testing.T, c *carrier) {
	t.Helper()
	// The SDK lower-cases names of extensions, so two spellings are one to it.
	msg := c.carry(t, with("ce-x", "1", "ce-X", "2"), nil)
	if seen := sdkMinds(t, msg, func(e *event.Event) string { return e.Extensions()["x"].(string) }); len(seen) != 2 {
		t.Errorf("the SDK is of one mind: %v", seen)
	}
	if _, err := envelope.Unmarshal(msg); !errors.Is(err, envelope.ErrRepeated) {
		t.Errorf("Agner takes two spellings of one attribute: %v", err)
	}
}

func twoContentTypes(t *testing.T, c *carrier) {
	t.Helper()
	msg := c.carry(t, with("ce-datacontenttype", "text/plain", "content-type", "text/html"), []byte("x"))
	if seen := sdkMinds(t, msg, (*event.Event).DataContentType); len(seen) != 2 {
		t.Errorf("the SDK is of one mind: %v", seen)
	}
	if e, err := envelope.Unmarshal(msg); err != nil || e.DataContentType != "text/plain" {
		t.Errorf("Agner reads %q, %v", e.DataContentType, err)
	}
}

// sdkMinds reads a message until the SDK has made two things of it: it goes by
// the order of Go's maps, which is another each time.
func sdkMinds(t *testing.T, msg *nats.Msg, of func(*event.Event) string) map[string]bool {
	t.Helper()
	seen := map[string]bool{}
	for range 10_000 {
		e, err := sdkRead(t.Context(), msg)
		if err != nil {
			t.Fatal(err)
		}
		if seen[of(e)] = true; len(seen) > 1 {
			break
		}
	}
	return seen
}

func structuredHeaders(t *testing.T, _ *carrier) {
	t.Helper()
	e := minimal()
	header, _, err := sdkWrite(binding.WithForceStructured(t.Context()), &e)
	if err != nil || len(header) != 0 {
		t.Errorf("the SDK sends headers: %v, %v", header, err)
	}
	raw, err := envelope.FromSDK(e)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := envelope.MarshalStructured(&raw)
	if err != nil || msg.Header.Get("Content-Type") != "application/cloudevents+json" {
		t.Errorf("Agner sends headers %v, %v", msg.Header, err)
	}
}

func trimmedBySetters(t *testing.T, c *carrier) {
	t.Helper()
	e := minimal()
	e.SetID(" a ")
	if e.ID() != "a" {
		t.Errorf("the SDK keeps %q", e.ID())
	}
	own := envelope.Raw{Attributes: envelope.Attributes{ID: " a ", Source: "/s", Type: "t"}}
	msg, err := envelope.Marshal(&own)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := envelope.Unmarshal(c.carry(t, msg.Header, nil)); err != nil || got.ID != " a " {
		t.Errorf("Agner reads %q, %v", got.ID, err)
	}
}

func typesOfExtensions(t *testing.T, c *carrier) {
	t.Helper()
	msg := c.carry(t, nil, []byte(object(`,"n":5`)))
	e, err := sdkRead(t.Context(), msg)
	if err != nil || e.Extensions()["n"] != int32(5) {
		t.Errorf("the SDK reads %v, %v", e, err)
	}
	own, err := envelope.Unmarshal(msg)
	if err != nil {
		t.Fatal(err)
	}
	out, err := envelope.MarshalStructured(&own)
	if err != nil || !bytes.Contains(out.Data, []byte(`"n":"5"`)) {
		t.Errorf("Agner forwards %s, %v", out.Data, err)
	}
}
