package test_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

// The differences between Agner and the CNCF SDK v2.16.2 (NATS binding
// nats_jetstream/v2), one by one. docs/wire.md lists the same. A row that fails
// after an update of the SDK is good news: the difference has gone.

// reading is what one side makes of a message: an error that contains a text,
// or an attribute, or the body, with a value; "" means that it is absent.
type reading struct {
	err   string
	attr  string
	value string
}

// body stands for the data in a reading.
const body = "the body"

func refuses(text string) reading      { return reading{err: text} }
func reads(attr, value string) reading { return reading{attr: attr, value: value} }

func TestReadingDifferences(t *testing.T) {
	c := newCarrier(t)
	for _, d := range readingDifferences() {
		t.Run(d.name, func(t *testing.T) {
			msg := c.carry(t, d.header, []byte(d.body))
			sdk, err := sdkRead(t.Context(), msg)
			var p portrait
			if err == nil {
				p = portraitOfSDK(t, sdk)
			}
			check(t, "the SDK", d.sdk, p, err)

			own, err := envelope.Unmarshal(msg)
			check(t, "Agner", d.agner, portraitOf(&own), err)
			if d.rule != nil && !errors.Is(err, d.rule) {
				t.Errorf("Agner's error %v does not match %v", err, d.rule)
			}
		})
	}
}

func check(t *testing.T, who string, want reading, p portrait, err error) {
	t.Helper()
	if want.err != "" {
		if err == nil {
			t.Errorf("%s accepts: %s", who, p)
		} else if !strings.Contains(err.Error(), want.err) {
			t.Errorf("%s refuses with %q, want %q in it", who, err, want.err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s refuses: %v", who, err)
		return
	}
	got := p.attributes[want.attr]
	if want.attr == body {
		got = p.data
	}
	if got != want.value {
		t.Errorf("%s reads %s as %q, want %q", who, want.attr, got, want.value)
	}
}

type readingDifference struct {
	name       string
	header     nats.Header
	body       string
	sdk, agner reading
	rule       error // that Agner's error matches
}

// with is a binary event's headers with some more; a value of "-" takes one
// away.
func with(pairs ...string) nats.Header {
	h := nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "-" {
			delete(h, pairs[i])
			continue
		}
		h[pairs[i]] = append(h[pairs[i]][:0:0], pairs[i+1])
	}
	return h
}

// object is a structured event's body with more members.
func object(more string) string {
	return `{"specversion":"1.0","id":"1","source":"/s","type":"t"` + more + `}`
}

func readingDifferences() []readingDifference {
	return []readingDifference{
		{
			name:   "percent-encoded header value",
			header: with("ce-subject", "Euro%20%E2%82%AC"),
			sdk:    reads("subject", "Euro%20%E2%82%AC"), agner: reads("subject", "Euro €"),
		},
		{
			name:   "quoted header value",
			header: with("ce-subject", `"a b"`),
			sdk:    reads("subject", `"a b"`), agner: reads("subject", "a b"),
		},
		{
			name:   "percent-encoding of a control character",
			header: with("ce-subject", "a%01b"),
			sdk:    reads("subject", "a%01b"), agner: refuses("subject"), rule: envelope.ErrText,
		},
		{
			name:   "percent-encoding of overlong UTF-8",
			header: with("ce-subject", "%C0%A0"),
			sdk:    reads("subject", "%C0%A0"), agner: refuses("subject"), rule: envelope.ErrEscape,
		},
		{
			name:   "control character as it is",
			header: with("ce-subject", "a\x01b"),
			sdk:    reads("subject", "a\x01b"), agner: refuses("subject"), rule: envelope.ErrText,
		},
		{
			name:   "structured with a ce-specversion beside its Content-Type",
			header: nats.Header{"Content-Type": {"application/cloudevents+json"}, "ce-specversion": {"1.0"}, "ce-id": {"outer"}, "ce-source": {"/s"}, "ce-type": {"t"}},
			body:   object(""),
			sdk:    reads("id", "outer"), agner: reads("id", "1"),
		},
		{
			name:   "ce-specversion in another case",
			header: with("ce-specversion", "-", "Ce-Specversion", "1.0"),
			sdk:    refuses("unexpected end of JSON"), agner: reads("id", "1"),
		},
		{
			name:   "attribute in another case",
			header: with("Ce-Subject", "s"),
			sdk:    reads("subject", ""), agner: reads("subject", "s"),
		},
		{
			name:   "header with two values",
			header: nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"1", "2"}, "ce-source": {"/s"}, "ce-type": {"t"}},
			sdk:    reads("id", "1"), agner: refuses(`"id"`), rule: envelope.ErrRepeated,
		},
		{
			name:   "content-type beside a binary event",
			header: with("content-type", "text/plain"),
			body:   "x",
			sdk:    reads("datacontenttype", "text/plain"), agner: reads("datacontenttype", ""),
		},
		{
			name:   "batch",
			header: nats.Header{"Content-Type": {"application/cloudevents-batch+json"}},
			body:   "[" + object("") + "]",
			sdk:    refuses("no specversion"), agner: refuses("batch"), rule: envelope.ErrUnsupported,
		},
		{
			name:   "specversion 0.3",
			header: with("ce-specversion", "0.3"),
			sdk:    reads("id", "1"), agner: refuses("specversion"), rule: envelope.ErrSpecVersion,
		},
		{
			name:   "attribute named data",
			header: with("ce-data", "x"),
			sdk:    reads("data", "x"), agner: refuses("data"), rule: envelope.ErrName,
		},
		{
			name:   "media type of one word",
			header: with("ce-datacontenttype", "json"),
			sdk:    reads("datacontenttype", "json"), agner: refuses("datacontenttype"), rule: envelope.ErrMediaType,
		},
		{
			name:   "time with one digit for the hour",
			header: with("ce-time", "2026-08-20T7:31:00Z"),
			sdk:    reads("time", "2026-08-20T07:31:00Z"), agner: refuses("time"), rule: envelope.ErrTimestamp,
		},
		{
			name:   "time with a comma before the fraction",
			header: with("ce-time", "2026-08-20T07:31:00,5Z"),
			sdk:    reads("time", "2026-08-20T07:31:00.5Z"), agner: refuses("time"), rule: envelope.ErrTimestamp,
		},
		{
			name:   "time in lower case",
			header: with("ce-time", "2026-08-20t07:31:00z"),
			sdk:    refuses("time"), agner: reads("time", "2026-08-20T07:31:00Z"),
		},
		{
			name:   "leap second",
			header: with("ce-time", "2016-12-31T23:59:60Z"),
			sdk:    refuses("time"), agner: reads("time", "2017-01-01T00:00:00Z"),
		},
		{
			name:   "source of an empty authority",
			header: with("ce-source", "//"),
			sdk:    refuses("source"), agner: reads("source", "//"),
		},
		{
			name: "id of a space",
			body: strings.Replace(object(""), `"1"`, `" "`, 1),
			sdk:  refuses("id"), agner: reads("id", " "),
		},
		{
			name: "duplicate member",
			body: object(`,"subject":"a","subject":"b"`),
			sdk:  reads("subject", "b"), agner: refuses("twice"),
		},
		{
			name: "both data and data_base64",
			body: object(`,"data":1,"data_base64":"Mg=="`),
			sdk:  reads(body, "2"), agner: refuses("data"), rule: envelope.ErrData,
		},
		{
			name: "white space before data_base64 without a content type",
			body: object(`,"data_base64": "MQ=="`),
			sdk:  refuses("illegal base64"), agner: reads(body, "1"),
		},
		{
			name: "object under a +json content type",
			body: object(`,"datacontenttype":"application/vnd.x+json","data":{"a":1}`),
			sdk:  refuses("expected a string"), agner: reads(body, `{"a":1}`),
		},
		{
			name: "object under JSON in upper case",
			body: object(`,"datacontenttype":"APPLICATION/JSON","data":{"a":1}`),
			sdk:  refuses("expected a string"), agner: reads(body, `{"a":1}`),
		},
		{
			name: "null content type",
			body: object(`,"datacontenttype":null`),
			sdk:  refuses("RFC 2046"), agner: reads("datacontenttype", ""),
		},
		{
			name: "fraction as an extension",
			body: object(`,"weight":1.5`),
			sdk:  reads("weight", "1"), agner: refuses("weight"), rule: envelope.ErrValueType,
		},
		{
			name: "name in upper case",
			body: object(`,"PartitionKey":"k"`),
			sdk:  reads("partitionkey", "k"), agner: refuses("PartitionKey"), rule: envelope.ErrName,
		},
		{
			name: "control character in a member",
			body: object(`,"subject":"a\u0001b"`),
			sdk:  reads("subject", "a\x01b"), agner: refuses("subject"), rule: envelope.ErrText,
		},
		{
			name: "invalid UTF-8 in a member",
			body: object(",\"subject\":\"a\xffb\""),
			sdk:  reads("subject", "a\xffb"), agner: refuses("UTF-8"),
		},
		{
			name: "lone surrogate",
			body: object(`,"subject":"a\ud800b"`),
			sdk:  reads("subject", "a\ufffdb"), agner: refuses("surrogate"),
		},
	}
}

// TestTwoSpellings: the SDK takes the one that Go's map gives it last.
func TestTwoSpellings(t *testing.T) {
	c := newCarrier(t)
	msg := c.carry(t, with("ce-datacontenttype", "text/plain", "content-type", "text/html"), []byte("x"))
	seen := map[string]bool{}
	for range 1000 {
		e, err := sdkRead(t.Context(), msg)
		if err != nil {
			t.Fatal(err)
		}
		seen[e.DataContentType()] = true
	}
	if len(seen) != 2 {
		t.Errorf("the SDK is no longer of two minds: %v", seen)
	}
	e, err := envelope.Unmarshal(msg)
	if err != nil || e.DataContentType != "text/plain" {
		t.Errorf("Agner reads %q, %v", e.DataContentType, err)
	}
	_, err = envelope.Unmarshal(c.carry(t, with("ce-ID", "2"), nil))
	if !errors.Is(err, envelope.ErrRepeated) {
		t.Errorf("Agner takes two spellings of one attribute: %v", err)
	}
}

// TestWritingDifferences: what arrives at Agner is not what was set, since the
// SDK encodes nothing. Agner's own publisher keeps or refuses each value.
func TestWritingDifferences(t *testing.T) {
	c := newCarrier(t)
	for _, d := range []struct {
		name    string
		set     any
		arrives string // at Agner, from the SDK
		own     string // in canonical form, by FromSDK and Marshal; "" is refused
	}{
		{"what looks percent-encoded", "100%41", "100A", "100%41"},
		{"what looks quoted", `"a"`, "a", `"a"`},
		{"spaces around", " a ", "a", " a "},
		{"line break", "a\r\nb", "a  b", ""},
		{"bytes", []byte{0, 1, 254}, "[0 1 254]", "AAH+"},
		{"time with an offset", time.Date(2026, 8, 20, 12, 0, 0, 0, time.FixedZone("", 7200)), "2026-08-20T10:00:00Z", "2026-08-20T10:00:00Z"},
	} {
		t.Run(d.name, func(t *testing.T) {
			e := event.New()
			e.SetID("1")
			e.SetSource("/s")
			e.SetType("t")
			e.SetExtension("x", d.set)
			header, body, err := sdkWrite(t.Context(), &e)
			if err != nil {
				t.Fatal(err)
			}
			got, err := envelope.Unmarshal(c.carry(t, header, body))
			if err != nil {
				t.Fatal(err)
			}
			if v, _ := got.Extension("x"); v != d.arrives {
				t.Errorf("from the SDK arrives %q, want %q", v, d.arrives)
			}
			own, err := roundTrip(t, c, e)
			switch {
			case d.own == "" && !errors.Is(err, envelope.ErrText):
				t.Errorf("Agner takes it: %q, %v", own, err)
			case d.own != "" && (err != nil || own != d.own):
				t.Errorf("through Agner comes %q, %v, want %q", own, err, d.own)
			}
		})
	}
}

// roundTrip sends an SDK event by Agner and returns its extension x.
func roundTrip(t *testing.T, c *carrier, e event.Event) (string, error) {
	t.Helper()
	raw, err := envelope.FromSDK(e)
	if err != nil {
		return "", err
	}
	msg, err := envelope.Marshal(&raw)
	if err != nil {
		return "", err
	}
	back, err := envelope.Unmarshal(c.carry(t, msg.Header, msg.Data))
	if err != nil {
		return "", err
	}
	v, _ := back.Extension("x")
	return v, nil
}
