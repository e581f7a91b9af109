package envelope_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

// least is the smallest legal event.
func least() envelope.Raw {
	return envelope.Raw{Attributes: envelope.Attributes{ID: "1", Source: "/s", Type: "t"}}
}

// headers is the least event in binary mode, with some headers more.
func headers(more map[string]string) nats.Header {
	h := nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"t"}}
	for k, v := range more {
		h[k] = []string{v}
	}
	return h
}

// document is the least event in structured mode, with some members more;
// their values are JSON.
func document(more map[string]string) []byte {
	m := map[string]string{"specversion": `"1.0"`, "id": `"1"`, "source": `"/s"`, "type": `"t"`}
	maps.Copy(m, more)
	var b bytes.Buffer
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(k)
		if err != nil {
			panic(err)
		}
		b.Write(append(append(name, ':'), m[k]...))
	}
	return []byte("{" + b.String() + "}")
}

func structured(body []byte) *nats.Msg {
	return &nats.Msg{Header: nats.Header{"Content-Type": {"application/cloudevents+json"}}, Data: body}
}

// value reads an attribute by its name.
func value(a *envelope.Attributes, name string) (string, bool) {
	known := map[string]string{
		"id": a.ID, "source": a.Source, "type": a.Type, "subject": a.Subject,
		"datacontenttype": a.DataContentType, "dataschema": a.DataSchema,
	}
	if v, ok := known[name]; ok {
		return v, v != ""
	}
	if name == "time" {
		return a.Time.Format(time.RFC3339Nano), !a.Time.IsZero()
	}
	return a.Extension(name)
}

// equal compares what travels of two events.
func equal(x, y *envelope.Raw) bool {
	a, b := x.Attributes, y.Attributes
	_, off := a.Time.Zone()
	_, offB := b.Time.Zone()
	same := a.Time.Equal(b.Time) && off == offB && bytes.Equal(x.Data, y.Data) && slices.Equal(a.Extensions, b.Extensions)
	a.Time, b.Time, a.Extensions, b.Extensions = time.Time{}, time.Time{}, nil, nil
	return same && a.ID == b.ID && a.Source == b.Source && a.Type == b.Type && a.Subject == b.Subject &&
		a.DataContentType == b.DataContentType && a.DataSchema == b.DataSchema &&
		a.Key == b.Key && a.CorrelationID == b.CorrelationID && a.CausationID == b.CausationID
}

// requireRoundTrip writes e in both modes, over the wire form of nats.go, and
// wants an equal event back.
func requireRoundTrip(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, e *envelope.Raw,
) {
	t.Helper()
	for _, mode := range []struct {
		name    string
		marshal func(*envelope.Raw) (*nats.Msg, error)
	}{{"binary", envelope.Marshal}, {"structured", envelope.MarshalStructured}} {
		msg, err := mode.marshal(e)
		if err != nil {
			t.Fatalf("%s: marshal %+v: %v", mode.name, e.Attributes, err)
		}
		got, err := envelope.Unmarshal(&nats.Msg{Header: overWire(t, msg.Header), Data: msg.Data})
		if err != nil {
			t.Fatalf("%s: unmarshal own message %v %q: %v", mode.name, msg.Header, msg.Data, err)
		}
		if !equal(&got, e) {
			t.Fatalf("%s: got  %+v %q\nwant %+v %q", mode.name, got.Attributes, got.Data, e.Attributes, e.Data)
		}
	}
}

// overWire takes a header block through the text that nats.go would send.
func overWire(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, h nats.Header,
) nats.Header {
	t.Helper()
	b := []byte("NATS/1.0\r\n")
	for name, values := range h {
		for _, v := range values {
			for i := range len(v) {
				if v[i] <= ' ' || v[i] >= 0x7f {
					t.Fatalf("header %s: %q is not of printable ASCII", name, v)
				}
			}
			b = append(b, name+": "+v+"\r\n"...)
		}
	}
	if len(b)+2 != envelope.HeaderSize(h) {
		t.Fatalf("HeaderSize = %d, want %d", envelope.HeaderSize(h), len(b)+2)
	}
	back, err := nats.DecodeHeadersMsg(append(b, "\r\n"...))
	if err != nil {
		t.Fatalf("header block %q: %v", b, err)
	}
	return back
}

// isTyped tells whether an error is one that callers can tell apart.
func isTyped(err error) bool {
	if _, ok := errors.AsType[*envelope.AttributeError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*envelope.JSONError](err); ok {
		return true
	}
	for _, s := range []error{envelope.ErrNotCloudEvent, envelope.ErrUnsupported, envelope.ErrTooLarge, envelope.ErrData} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

func TestMarshalGolden(t *testing.T) {
	t.Parallel()
	e := nine()
	e.Subject = "Euro € 😀"
	e.CorrelationID, e.CausationID, e.DataSchema = "c-1", "c-2", "https://example.com/schema/1"
	e.Extensions = append(e.Extensions, envelope.Extension{Name: "x", Value: `100% "q"`})
	msg, err := envelope.Marshal(&e)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"ce-specversion":     "1.0",
		"ce-id":              "A234-1234-1234",
		"ce-source":          "https://example.com/orders/7",
		"ce-type":            "com.example.order.placed.v1",
		"ce-subject":         "Euro%20%E2%82%AC%20%F0%9F%98%80",
		"ce-time":            "2026-08-20T12:34:56.123456789Z",
		"ce-datacontenttype": "application/json",
		"ce-dataschema":      "https://example.com/schema/1",
		"ce-partitionkey":    "7",
		"ce-correlationid":   "c-1",
		"ce-causationid":     "c-2",
		"ce-sampledrate":     "30",
		"ce-x":               "100%25%20%22q%22",
	}
	if len(msg.Header) != len(want) {
		t.Errorf("%d headers, want %d: %v", len(msg.Header), len(want), msg.Header)
	}
	for name, v := range want {
		if got := msg.Header[name]; len(got) != 1 || got[0] != v {
			t.Errorf("%s: %q, want %q", name, got, v)
		}
	}
	if msg.Subject != "" || !bytes.Equal(msg.Data, e.Data) {
		t.Errorf("subject %q, data %q", msg.Subject, msg.Data)
	}
	requireRoundTrip(t, &e)
}

func TestMarshalStructuredGolden(t *testing.T) {
	t.Parallel()
	e := least()
	e.Subject, e.Key, e.DataContentType = `q"b\`, "k", "application/json"
	e.Time = time.Date(2026, 8, 20, 12, 34, 56, 0, time.FixedZone("", 7200))
	e.Extensions = []envelope.Extension{{Name: "a", Value: ""}, {Name: "z", Value: "ü"}}
	const head = `{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"q\"b\\",` +
		`"time":"2026-08-20T12:34:56+02:00",`
	const ext = `"partitionkey":"k","a":"","z":"ü"`
	for _, tc := range []struct{ contentType, data, want string }{
		{"application/json", `{"n": 1.50}`, `"datacontenttype":"application/json",` + ext + `,"data":{"n": 1.50}}`},
		{"application/x+JSON", `null`, `"datacontenttype":"application/x+JSON",` + ext + `,"data":null}`},
		{"application/json", "", `"datacontenttype":"application/json",` + ext + `}`},
		{"application/json", ` 1`, `"datacontenttype":"application/json",` + ext + `,"data_base64":"IDE="}`},
		{"application/json", `{"a":1,"a":2}`, `"datacontenttype":"application/json",` + ext + `,"data_base64":"eyJhIjoxLCJhIjoyfQ=="}`},
		{"text/plain", "a", `"datacontenttype":"text/plain",` + ext + `,"data_base64":"YQ=="}`},
		{"", "1", ext + `,"data_base64":"MQ=="}`},
	} {
		e.DataContentType, e.Data = tc.contentType, []byte(tc.data)
		msg, err := envelope.MarshalStructured(&e)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(msg.Data); got != head+tc.want {
			t.Errorf("got  %s\nwant %s", got, head+tc.want)
		}
		if got := msg.Header["Content-Type"]; len(msg.Header) != 1 || got[0] != "application/cloudevents+json" {
			t.Errorf("header %v", msg.Header)
		}
		requireRoundTrip(t, &e)
	}
}

func TestUnmarshalKeepsDelivery(t *testing.T) {
	t.Parallel()
	msg := &nats.Msg{Subject: "events.t._", Header: headers(map[string]string{
		"traceparent": "00-1-2-03", "tracestate": "a=b", "baggage": "c=d", "Nats-Msg-Id": "m", "X-Other": "%41 \"",
		"ce-traceparent": "00-9-9-00",
	})}
	e, err := envelope.Unmarshal(msg)
	if err != nil {
		t.Fatal(err)
	}
	if e.Delivery.Subject != msg.Subject || !maps.EqualFunc(e.Delivery.Header, msg.Header, slices.Equal) {
		t.Errorf("delivery %+v", e.Delivery)
	}
	if v, ok := e.Extension("traceparent"); !ok || v != "00-9-9-00" || len(e.Extensions) != 1 {
		t.Errorf("extensions %v: foreign headers are no attributes, and ce-traceparent is one", e.Extensions)
	}
}

func TestMarshalRefuses(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return string(bytes.Repeat([]byte{'x'}, n)) }
	for name, tc := range map[string]struct {
		set       func(*envelope.Attributes)
		attribute string
		rule      error
	}{
		"no id":               {func(a *envelope.Attributes) { a.ID = "" }, "id", envelope.ErrRequired},
		"no source":           {func(a *envelope.Attributes) { a.Source = "" }, "source", envelope.ErrRequired},
		"no type":             {func(a *envelope.Attributes) { a.Type = "" }, "type", envelope.ErrRequired},
		"id too long":         {func(a *envelope.Attributes) { a.ID = long(envelope.MaxID + 1) }, "id", envelope.ErrTooLong},
		"source too long":     {func(a *envelope.Attributes) { a.Source = long(envelope.MaxSource + 1) }, "source", envelope.ErrTooLong},
		"type too long":       {func(a *envelope.Attributes) { a.Type = long(envelope.MaxType + 1) }, "type", envelope.ErrTooLong},
		"line break in id":    {func(a *envelope.Attributes) { a.ID = "a\r\nNats-Msg-Id: x" }, "id", envelope.ErrText},
		"line break in key":   {func(a *envelope.Attributes) { a.Key = "a\n" }, "partitionkey", envelope.ErrText},
		"control correlation": {func(a *envelope.Attributes) { a.CorrelationID = "\x00" }, "correlationid", envelope.ErrText},
		"control causation":   {func(a *envelope.Attributes) { a.CausationID = "\u0085" }, "causationid", envelope.ErrText},
		"bad UTF-8 subject":   {func(a *envelope.Attributes) { a.Subject = "\xff" }, "subject", envelope.ErrText},
		"source with space":   {func(a *envelope.Attributes) { a.Source = "/a b" }, "source", envelope.ErrURIReference},
		"relative schema":     {func(a *envelope.Attributes) { a.DataSchema = "/a" }, "dataschema", envelope.ErrURI},
		"media type":          {func(a *envelope.Attributes) { a.DataContentType = "json" }, "datacontenttype", envelope.ErrMediaType},
		"year 10000":          {func(a *envelope.Attributes) { a.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "time", envelope.ErrTimestamp},
		"year -1":             {func(a *envelope.Attributes) { a.Time = time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC) }, "time", envelope.ErrTimestamp},
		"extension text":      {ext("x", "a\x7f"), "x", envelope.ErrText},
		"extension name":      {ext("X", "a"), "X", envelope.ErrName},
		"extension no name":   {ext("", "a"), "", envelope.ErrName},
		"extension injects":   {ext("a: b\r\nNats-Msg-Id", "a"), "a: b\r\nNats-Msg-Id", envelope.ErrName},
		"extension data":      {ext("data", "a"), "data", envelope.ErrName},
		"extension id":        {ext("id", "a"), "id", envelope.ErrReserved},
		"extension key":       {ext("partitionkey", "a"), "partitionkey", envelope.ErrReserved},
		"extension version":   {ext("specversion", "1.0"), "specversion", envelope.ErrReserved},
		"extension twice":     {func(a *envelope.Attributes) { ext("b", "1")(a); ext("a", "")(a); ext("b", "2")(a) }, "b", envelope.ErrRepeated},
	} {
		e := least()
		tc.set(&e.Attributes)
		for mode, marshal := range map[string]func(*envelope.Raw) (*nats.Msg, error){"binary": envelope.Marshal, "structured": envelope.MarshalStructured} {
			_, err := marshal(&e)
			requireRule(t, name+" "+mode, err, tc.attribute, tc.rule)
		}
		_, err := envelope.ToSDK(&e)
		requireRule(t, name+" SDK", err, tc.attribute, tc.rule)
	}
}

func ext(name, value string) func(*envelope.Attributes) {
	return func(a *envelope.Attributes) {
		a.Extensions = append(a.Extensions, envelope.Extension{Name: name, Value: value})
	}
}

func requireRule(t *testing.T, name string, err error, attribute string, rule error) {
	t.Helper()
	ae, ok := errors.AsType[*envelope.AttributeError](err)
	if !ok || ae.Attribute != attribute || !errors.Is(err, rule) {
		t.Errorf("%s: %v, want attribute %q to break %q", name, err, attribute, rule)
		return
	}
	if len(err.Error()) > 600 {
		t.Errorf("%s: the error has %d bytes: values must be cut", name, len(err.Error()))
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return string(bytes.Repeat([]byte{'x'}, n)) }
	e := least()
	e.ID, e.Source, e.Type = long(envelope.MaxID), long(envelope.MaxSource), long(envelope.MaxType)
	requireRoundTrip(t, &e)

	e = least()
	ext("x", "")(&e.Attributes)
	msg, err := envelope.Marshal(&e)
	if err != nil {
		t.Fatal(err)
	}
	// The bound counts the names of absent attributes too, so it may bite a
	// little early, and never late.
	room := envelope.MaxHeader - envelope.HeaderSize(msg.Header)
	for _, tc := range []struct {
		value string
		fits  bool
	}{
		{long(room - 200), true},
		{long(room + 1), false},
		{string(bytes.Repeat([]byte{' '}, (room-200)/3)), true},
		{string(bytes.Repeat([]byte{' '}, room/3+1)), false},
	} {
		e.Extensions[0].Value = tc.value
		msg, err := envelope.Marshal(&e)
		switch {
		case tc.fits && err != nil:
			t.Errorf("value of %d: %v", len(tc.value), err)
		case tc.fits && envelope.HeaderSize(msg.Header) > envelope.MaxHeader:
			t.Errorf("header block of %d", envelope.HeaderSize(msg.Header))
		case !tc.fits && !errors.Is(err, envelope.ErrTooLarge):
			t.Errorf("value of %d: %v, want ErrTooLarge", len(tc.value), err)
		}
	}
	// What cannot be written is not read either.
	body := document(map[string]string{"x": `"` + long(70_000) + `"`})
	if _, err := envelope.Unmarshal(structured(body)); !errors.Is(err, envelope.ErrTooLarge) {
		t.Errorf("structured: %v, want ErrTooLarge", err)
	}
	h := headers(map[string]string{"ce-x": long(60_000)})
	if _, err := envelope.Unmarshal(&nats.Msg{Header: h}); !errors.Is(err, envelope.ErrTooLarge) {
		t.Errorf("binary: %v, want ErrTooLarge", err)
	}
}

// TestLargeData is the size that CloudEvents wants every intermediary to take,
// and more.
func TestLargeData(t *testing.T) {
	t.Parallel()
	e := least()
	for _, n := range []int{0, 1, 64 << 10, 1 << 20} {
		e.DataContentType, e.Data = "application/octet-stream", bytes.Repeat([]byte{0xff}, n)
		requireRoundTrip(t, &e)
		e.DataContentType, e.Data = "application/json", append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, n)...), '"')
		requireRoundTrip(t, &e)
	}
}

func TestMessageID(t *testing.T) {
	t.Parallel()
	// The shell line of docs/wire.md prints the same.
	if got := envelope.MessageID("/shop/checkout", "o-1"); got != "SZwrHDnYn_kUhY8eoccK2g" {
		t.Errorf("MessageID = %q", got)
	}
	if got := envelope.MessageID("/shop/checkout", "6f1d1a0e-0c2b-4b57-9d0a-0d6a3f1f6c11"); got != "hOy2JFxeJwJ7wBdDoaenxg" {
		t.Errorf("MessageID = %q, not that of docs/wire.md", got)
	}
	if envelope.MessageID("a", "bc") == envelope.MessageID("ab", "c") {
		t.Error("source and id run together")
	}
	long := string(bytes.Repeat([]byte{'x'}, 5000))
	if got := envelope.MessageID(long, long); len(got) != 22 {
		t.Errorf("MessageID = %q", got)
	}
}
