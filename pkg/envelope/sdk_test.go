package envelope_test

import (
	"errors"
	"math"
	"net/url"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/agner-go/agner/pkg/envelope"
)

func TestSDKRoundTrip(t *testing.T) {
	t.Parallel()
	full := nine()
	full.DataSchema, full.CorrelationID, full.CausationID = "https://example.com/s", "c", "d"
	full.Subject = "Euro € 😀"
	full.Time = full.Time.In(time.FixedZone("", 3600))
	text := least()
	text.DataContentType, text.Data = "text/plain", []byte("a\xff")
	spaced := least()
	spaced.ID, spaced.Type, spaced.Subject, spaced.Key = " 1 ", " t ", " s ", " k "
	suffix, broken := nine(), nine()
	suffix.DataContentType = "application/vnd.x+json"
	broken.Data = []byte(`{"not JSON`)
	for _, e := range []envelope.Raw{least(), nine(), full, text, spaced, suffix, broken} {
		converted, err := envelope.ToSDK(&e)
		if err != nil {
			t.Fatal(err)
		}
		if err := converted.Validate(); err != nil {
			t.Errorf("the SDK refuses %+v: %v", e.Attributes, err)
		}
		back, err := envelope.FromSDK(converted)
		if err != nil {
			t.Fatal(err)
		}
		if !equal(&back, &e) {
			t.Errorf("got  %+v\nwant %+v", back, e)
		}
		// The SDK's own JSON, read by us.
		body, err := converted.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		read, err := envelope.Unmarshal(structured(body))
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if read.Time, e.Time = read.Time.UTC(), e.Time.UTC(); !equal(&read, &e) { // the SDK writes UTC
			t.Errorf("got  %+v %q\nwant %+v %q", read.Attributes, read.Data, e.Attributes, e.Data)
		}
	}
}

func TestFromSDKExtensions(t *testing.T) {
	t.Parallel()
	u, err := url.Parse("https://example.com/a%20b")
	if err != nil {
		t.Fatal(err)
	}
	in := event.New()
	in.SetID("1")
	in.SetSource("/s")
	in.SetType("t")
	in.SetExtension("partitionkey", int32(7))
	in.SetExtension("b", true)
	in.SetExtension("i", math.MinInt32)
	in.SetExtension("bin", []byte{0, 1, 254})
	in.SetExtension("uri", u)
	in.SetExtension("at", time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)))
	in.SetExtension("s", "text")
	got, err := envelope.FromSDK(in)
	if err != nil {
		t.Fatal(err)
	}
	want := []envelope.Extension{
		{"at", "2026-01-02T02:04:05.000000006Z"},
		{"b", "true"},
		{"bin", "AAH+"},
		{"i", "-2147483648"},
		{"s", "text"},
		{"uri", "https://example.com/a%20b"},
	}
	if got.Key != "7" || len(got.Extensions) != len(want) {
		t.Fatalf("%+v", got.Attributes)
	}
	for i, x := range want {
		if got.Extensions[i] != x {
			t.Errorf("%+v, want %+v", got.Extensions[i], x)
		}
	}
	requireRoundTrip(t, &got)
}

func TestFromSDKRefuses(t *testing.T) {
	t.Parallel()
	sdk := func(change func(*event.Event)) event.Event {
		e := event.New()
		e.SetID("1")
		e.SetSource("/s")
		e.SetType("t")
		change(&e)
		return e
	}
	for name, tc := range map[string]struct {
		in   event.Event
		want error
	}{
		"zero":         {event.Event{}, envelope.ErrNotCloudEvent},
		"new":          {event.New(), envelope.ErrRequired},
		"old version":  {event.New(event.CloudEventsVersionV03), envelope.ErrSpecVersion},
		"line break":   {sdk(func(e *event.Event) { e.SetID("a\nb") }), envelope.ErrText},
		"long id":      {sdk(func(e *event.Event) { e.SetID(string(make([]byte, 2000))) }), envelope.ErrTooLong},
		"extension":    {sdk(func(e *event.Event) { e.SetExtension("x", "a\x00") }), envelope.ErrText},
		"empty key":    {sdk(func(e *event.Event) { e.SetExtension("partitionkey", "") }), envelope.ErrEmpty},
		"no data type": {sdk(func(e *event.Event) { e.SetExtension("data", "x") }), envelope.ErrName},
	} {
		if _, err := envelope.FromSDK(tc.in); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	// A value that the SDK refused is not in the event any more.
	in := sdk(func(e *event.Event) { e.SetSource("%") })
	if _, err := envelope.FromSDK(in); err == nil {
		t.Error("an event was taken whose source the SDK had refused")
	}
}

func TestToSDKRefuses(t *testing.T) {
	t.Parallel()
	// Legal for RFC 3986, and not for the URL type that the SDK uses, or
	// changed by it.
	for _, source := range []string{"http://[v7.a:b]/", "/a#", "HTTP://a"} {
		e := least()
		e.Source = source
		if _, err := envelope.ToSDK(&e); err == nil {
			t.Errorf("%s: a source that the SDK cannot hold was converted", source)
		}
	}
	e := least()
	e.DataSchema = "HTTP://a"
	if _, err := envelope.ToSDK(&e); err == nil {
		t.Error("a dataschema that the SDK cannot hold was converted")
	}
}
