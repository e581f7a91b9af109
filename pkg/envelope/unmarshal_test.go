package envelope_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

// with gives the least event's headers with some set, some more, some gone.
func with(change func(nats.Header)) nats.Header {
	h := headers(nil)
	change(h)
	return h
}

func TestHeaderNames(t *testing.T) {
	t.Parallel()
	canonical := func(h nats.Header) { h["Ce-Id"] = h["ce-id"]; delete(h, "ce-id") }
	for name, tc := range map[string]struct {
		change    func(nats.Header)
		attribute string
		rule      error
	}{
		"canonical case":    {canonical, "", nil},
		"upper case":        {func(h nats.Header) { maps.DeleteFunc(h, upper(h)) }, "", nil},
		"two spellings":     {func(h nats.Header) { h["ce-ID"] = []string{"1"} }, "id", envelope.ErrRepeated},
		"of an extension":   {func(h nats.Header) { h["ce-x"], h["CE-X"] = []string{"1"}, []string{"2"} }, "x", envelope.ErrRepeated},
		"two values":        {func(h nats.Header) { h["ce-id"] = []string{"1", "1"} }, "id", envelope.ErrRepeated},
		"extension, two":    {func(h nats.Header) { h["ce-x"] = []string{"1", "2"} }, "x", envelope.ErrRepeated},
		"no values":         {func(h nats.Header) { h["ce-x"] = nil }, "", nil},
		"trailing space":    {func(h nats.Header) { h["ce-id "] = []string{"1"} }, "ce-id ", envelope.ErrName},
		"no id":             {func(h nats.Header) { delete(h, "ce-id") }, "id", envelope.ErrRequired},
		"no source":         {func(h nats.Header) { delete(h, "ce-source") }, "source", envelope.ErrRequired},
		"no type":           {func(h nats.Header) { delete(h, "ce-type") }, "type", envelope.ErrRequired},
		"no specversion":    {func(h nats.Header) { delete(h, "ce-specversion") }, "specversion", envelope.ErrRequired},
		"unprefixed type":   {func(h nats.Header) { h["content-type"] = []string{"text/plain"} }, "", nil},
		"foreign look-like": {func(h nats.Header) { h["cex-id"], h["ce"] = []string{"1"}, []string{"2"} }, "", nil},
	} {
		e, err := envelope.Unmarshal(&nats.Msg{Header: with(tc.change)})
		if tc.rule != nil {
			requireRule(t, name, err, tc.attribute, tc.rule)
			continue
		}
		if err != nil || e.ID != "1" || e.DataContentType != "" || len(e.Extensions) != 0 {
			t.Errorf("%s: %+v, %v", name, e.Attributes, err)
		}
	}
}

// upper renames every header to upper case and tells which to delete.
func upper(h nats.Header) func(string, []string) bool {
	for name, values := range maps.Clone(h) {
		h[strings.ToUpper(name)] = values
	}
	return func(name string, _ []string) bool { return name != strings.ToUpper(name) }
}

func TestEmptyExtension(t *testing.T) {
	t.Parallel()
	for name, msg := range map[string]*nats.Msg{
		"binary":     {Header: headers(map[string]string{"ce-x": ""})},
		"structured": structured(document(map[string]string{"x": `""`})),
	} {
		e, err := envelope.Unmarshal(msg)
		if err != nil {
			t.Fatal(name, err)
		}
		if v, ok := e.Extension("x"); v != "" || !ok {
			t.Errorf("%s: an empty extension is one: %q, %v", name, v, ok)
		}
		requireRoundTrip(t, &e)
	}
}

func TestReaderOrder(t *testing.T) {
	t.Parallel()
	doc := document(map[string]string{"id": `"structured"`})
	ce := func(more map[string]string) nats.Header {
		h := headers(map[string]string{"ce-id": "binary"})
		for k, v := range more {
			h[k] = []string{v}
		}
		return h
	}
	only := func(name, value string) nats.Header { return nats.Header{name: {value}} }
	for name, tc := range map[string]struct {
		header nats.Header
		body   []byte
		id     string // read as this event
		err    error
	}{
		"JSON":                   {only("Content-Type", "application/cloudevents+json"), doc, "structured", nil},
		"no suffix":              {only("Content-Type", "application/cloudevents"), doc, "structured", nil},
		"any case":               {only("content-type", "Application/CloudEvents+JSON"), doc, "structured", nil},
		"parameters":             {only("CONTENT-TYPE", "application/cloudevents+json ; charset=utf-8"), doc, "structured", nil},
		"both signs":             {ce(map[string]string{"Content-Type": "application/cloudevents+json"}), doc, "structured", nil},
		"both, headers broken":   {ce(map[string]string{"content-type": "application/cloudevents+json", "ce-a_b": ""}), doc, "structured", nil},
		"both, body broken":      {ce(map[string]string{"Content-Type": "application/cloudevents+json"}), []byte("{"), "", envelope.ErrJSONSyntax},
		"batch":                  {only("Content-Type", "application/cloudevents-batch+json"), []byte("[]"), "", envelope.ErrUnsupported},
		"batch in no format":     {only("Content-Type", "application/cloudevents-batch"), []byte("[]"), "", envelope.ErrUnsupported},
		"protobuf":               {only("Content-Type", "application/cloudevents+protobuf"), []byte{1}, "", envelope.ErrUnsupported},
		"unknown, both signs":    {ce(map[string]string{"Content-Type": "application/cloudevents+xml"}), doc, "", envelope.ErrUnsupported},
		"other type, binary":     {ce(map[string]string{"Content-Type": "application/json"}), doc, "binary", nil},
		"longer word, binary":    {ce(map[string]string{"Content-Type": "application/cloudeventsource"}), doc, "binary", nil},
		"binary":                 {ce(nil), doc, "binary", nil},
		"two equal types":        {nats.Header{"Content-Type": {structuredType, structuredType}}, doc, "", envelope.ErrRepeated},
		"two spellings":          {nats.Header{"Content-Type": {structuredType}, "content-type": {"text/plain"}}, doc, "", envelope.ErrRepeated},
		"two foreign ones":       {nats.Header{"Content-Type": {"a/b"}, "content-type": {"c/d"}}, doc, "structured", nil},
		"no header block":        {nil, doc, "structured", nil},
		"white space":            {nil, []byte(" \r\n\t" + string(doc) + "\n"), "structured", nil},
		"foreign headers":        {nats.Header{"traceparent": {"x"}, "Nats-Msg-Id": {"y"}}, doc, "structured", nil},
		"content type of a body": {only("Content-Type", "application/json"), doc, "structured", nil},
		"ce header and document": {only("ce-id", "1"), doc, "", envelope.ErrNotCloudEvent},
		"nothing":                {nil, nil, "", envelope.ErrNotCloudEvent},
		"other JSON":             {nil, []byte(`{"order_id":"1"}`), "", envelope.ErrNotCloudEvent},
		"broken JSON":            {nil, []byte(`{"order_id":`), "", envelope.ErrNotCloudEvent},
		"broken event":           {nil, []byte(`{"specversion":"1.0",`), "", envelope.ErrJSONSyntax},
		"array":                  {nil, []byte("[" + string(doc) + "]"), "", envelope.ErrNotCloudEvent},
		"string":                 {nil, []byte(`"specversion"`), "", envelope.ErrNotCloudEvent},
		"null version":           {nil, document(map[string]string{"specversion": "null"}), "", envelope.ErrNotCloudEvent},
		"old version":            {nil, document(map[string]string{"specversion": `"0.3"`}), "", envelope.ErrSpecVersion},
		"bytes":                  {nil, []byte{0xff, 0x00}, "", envelope.ErrNotCloudEvent},
	} {
		e, err := envelope.Unmarshal(&nats.Msg{Header: tc.header, Data: tc.body})
		if !errors.Is(err, tc.err) || err != nil && !isTyped(err) {
			t.Errorf("%s: %v, want %v", name, err, tc.err)
		}
		if e.ID != tc.id {
			t.Errorf("%s: read event %q, want %q", name, e.ID, tc.id)
		}
	}
	// In structured mode no header is an attribute, also not one that the
	// document lacks.
	both := &nats.Msg{Data: doc, Header: ce(map[string]string{
		"Content-Type": structuredType, "ce-subject": "s", "ce-partitionkey": "k", "ce-x": "x",
	})}
	if e, err := envelope.Unmarshal(both); err != nil || e.Subject != "" || e.Key != "" || e.Extensions != nil {
		t.Errorf("both signs: %+v, %v", e.Attributes, err)
	}
	if _, err := envelope.Unmarshal(nil); !errors.Is(err, envelope.ErrNotCloudEvent) {
		t.Errorf("nil: %v", err)
	}
}

const structuredType = "application/cloudevents+json"

func TestStructuredData(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		members     map[string]string
		contentType string
		data        string
		err         error
	}{
		"none":                  {nil, "", "", nil},
		"none, JSON":            {m("datacontenttype", `"application/json"`), "application/json", "", nil},
		"implied JSON":          {m("data", `{"n": 1.50}`), "application/json", `{"n": 1.50}`, nil},
		"implied JSON string":   {m("data", `"I'm just a string"`), "application/json", `"I'm just a string"`, nil},
		"null is data":          {m("data", `null`), "application/json", `null`, nil},
		"numbers unchanged":     {m("data", `[1e400,0.10,-0,12345678901234567890]`), "application/json", `[1e400,0.10,-0,12345678901234567890]`, nil},
		"text is not unquoted":  {m("data", `"{\"a\":1}"`, "datacontenttype", `"application/json"`), "application/json", `"{\"a\":1}"`, nil},
		"+json":                 {m("data", `{}`, "datacontenttype", `"application/a+json"`), "application/a+json", `{}`, nil},
		"any case":              {m("data", `{}`, "datacontenttype", `"TEXT/JSON"`), "TEXT/JSON", `{}`, nil},
		"JSON, parameters":      {m("data", `{}`, "datacontenttype", `"a/json; charset=utf-8"`), "a/json; charset=utf-8", `{}`, nil},
		"jsonx is not JSON":     {m("data", `{}`, "datacontenttype", `"a/jsonx"`), "", "", envelope.ErrData},
		"+json alone is none":   {m("data", `{}`, "datacontenttype", `"a/+json"`), "", "", envelope.ErrData},
		"text":                  {m("data", `"<much wow=\"xml\"/>"`, "datacontenttype", `"application/xml"`), "application/xml", `<much wow="xml"/>`, nil},
		"text of Unicode":       {m("data", `"\u20ac\ud83d\ude00\n"`, "datacontenttype", `"text/plain;charset=\"UTF-8\""`), `text/plain;charset="UTF-8"`, "€😀\n", nil},
		"text of escapes":       {m("data", `"\"\\\/\b\f\n\r\t\u0041"`, "datacontenttype", `"text/plain"`), "text/plain", "\"\\/\b\f\n\r\tA", nil},
		"empty text":            {m("data", `""`, "datacontenttype", `"text/plain"`), "text/plain", "", nil},
		"null text":             {m("data", `null`, "datacontenttype", `"text/plain"`), "text/plain", "", nil},
		"object as text":        {m("data", `{}`, "datacontenttype", `"text/plain"`), "", "", envelope.ErrData},
		"other charset":         {m("data", `"a"`, "datacontenttype", `"text/plain; charset=latin1"`), "", "", envelope.ErrData},
		"base64":                {m("data_base64", `"/+8="`), "", "\xff\xef", nil},
		"base64, escaped":       {m("data_base64", `"\/+8="`), "", "\xff\xef", nil},
		"base64 of JSON":        {m("data_base64", `"eyAieHl6IjogMTIzIH0="`, "datacontenttype", `"application/json"`), "application/json", `{ "xyz": 123 }`, nil},
		"base64 empty":          {m("data_base64", `""`), "", "", nil},
		"base64 null":           {m("data_base64", `null`), "", "", nil},
		"base64 null and data":  {m("data_base64", `null`, "data", `1`), "application/json", "1", nil},
		"base64 number":         {m("data_base64", `1`), "", "", envelope.ErrData},
		"base64 alphabet":       {m("data_base64", `"_-8="`), "", "", envelope.ErrData},
		"base64 no padding":     {m("data_base64", `"/+8"`), "", "", envelope.ErrData},
		"base64 more padding":   {m("data_base64", `"/+8=="`), "", "", envelope.ErrData},
		"base64 trailing bits":  {m("data_base64", `"/+9="`), "", "", envelope.ErrData},
		"base64 line break":     {m("data_base64", `"/+\n8="`), "", "", envelope.ErrData},
		"base64 space":          {m("data_base64", `"/+ 8="`), "", "", envelope.ErrData},
		"both":                  {m("data_base64", `"/+8="`, "data", `1`), "", "", envelope.ErrData},
		"both, null":            {m("data_base64", `"/+8="`, "data", `null`), "", "", envelope.ErrData},
		"bad type, JSON data":   {m("data", `{}`, "datacontenttype", `"json"`), "", "", envelope.ErrMediaType},
		"duplicate in the data": {m("data", `{"a":1,"\u0061":2}`), "", "", envelope.ErrJSONDuplicate},
		"data of other name":    {m("Data", `1`), "", "", envelope.ErrName},
	} {
		e, err := envelope.Unmarshal(structured(document(tc.members)))
		if !errors.Is(err, tc.err) || err != nil && !isTyped(err) {
			t.Errorf("%s: %v, want %v", name, err, tc.err)
		}
		if err != nil {
			continue
		}
		if e.DataContentType != tc.contentType || string(e.Data) != tc.data {
			t.Errorf("%s: %q %q, want %q %q", name, e.DataContentType, e.Data, tc.contentType, tc.data)
		}
		requireRoundTrip(t, &e)
	}
}

func m(pairs ...string) map[string]string {
	out := make(map[string]string, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// TestSpecExamples reads the pretty-printed examples of the JSON format, which
// the CNCF SDK refuses in part.
func TestSpecExamples(t *testing.T) {
	t.Parallel()
	const doc = `{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext",
    "subject": null,
    "id" : "D234-1234-1234",
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "unsetextension": null,
    "data_base64" : "eyAieHl6IjogMTIzIH0="
}`
	e, err := envelope.Unmarshal(&nats.Msg{Data: []byte(doc)})
	if err != nil {
		t.Fatal(err)
	}
	if string(e.Data) != `{ "xyz": 123 }` || e.DataContentType != "" || len(e.Extensions) != 2 || e.Extensions[1].Value != "5" {
		t.Errorf("%+v %q", e.Attributes, e.Data)
	}
	requireRoundTrip(t, &e)
}

func TestUnmarshalDoesNotShareSpareRoom(t *testing.T) {
	t.Parallel()
	body := document(m("data", `[1]`))
	before := string(body)
	e, err := envelope.Unmarshal(structured(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = append(e.Data, '!')
	if string(body) != before {
		t.Errorf("appending to the data changed the message: %s", body)
	}
}
