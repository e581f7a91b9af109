package envelope_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

// none says that a case has no form in one of the modes.
const none = "\x00"

// attributeCase is one attribute on the wire: in the binary mode a header
// value, in the structured mode a JSON value. It is read as want, or refused
// by rule; with neither it is read as absent.
type attributeCase struct {
	attr   string
	header string
	json   string
	want   string
	rule   error
}

// same is a case whose header is the text and whose JSON its string.
func same(attr, text, want string, rule error) attributeCase {
	return attributeCase{attr, text, `"` + text + `"`, want, rule}
}

func attributeCases() []attributeCase {
	long := strings.Repeat("x", 600)
	return []attributeCase{
		// Required: missing, empty, null, of a wrong type.
		{"id", "", `""`, "", envelope.ErrEmpty},
		{"source", "", `""`, "", envelope.ErrEmpty},
		{"type", "", `""`, "", envelope.ErrEmpty},
		{"specversion", "", `""`, "", envelope.ErrEmpty},
		{"id", " ", none, "", envelope.ErrEmpty}, // white space around a header value is not part of it
		{"id", "%20", `" "`, " ", nil},           // the spec asks for non-empty only
		{"id", none, `null`, "", envelope.ErrRequired},
		{"source", none, `null`, "", envelope.ErrRequired},
		{"type", none, `null`, "", envelope.ErrRequired},
		{"specversion", none, `null`, "", envelope.ErrRequired},
		{"id", none, `1`, "", envelope.ErrValueType},
		{"source", none, `true`, "", envelope.ErrValueType},
		{"type", none, `{}`, "", envelope.ErrValueType},
		{"type", none, `["t"]`, "", envelope.ErrValueType},
		{"type", long[:envelope.MaxType+1], `"` + long[:envelope.MaxType+1] + `"`, "", envelope.ErrTooLong},
		same("type", long[:envelope.MaxType], long[:envelope.MaxType], nil),
		same("id", "a:b/c=d", "a:b/c=d", nil),
		same("type", "no.dots..at.all.", "no.dots..at.all.", nil),

		// Version.
		same("specversion", "0.3", "", envelope.ErrSpecVersion),
		same("specversion", "1.1", "", envelope.ErrSpecVersion),
		same("specversion", "1", "", envelope.ErrSpecVersion),
		same("specversion", "1.0.2", "", envelope.ErrSpecVersion),
		{"specversion", none, `1.0`, "", envelope.ErrValueType},
		// read as the version, which is no field
		{"specversion", "%31.0", `"\u0031.0"`, "", nil},

		// Optional: absent, null, empty, malformed.
		{"subject", "", `""`, "", envelope.ErrEmpty},
		{"time", "", `""`, "", envelope.ErrEmpty},
		{"datacontenttype", "", `""`, "", envelope.ErrEmpty},
		{"dataschema", "", `""`, "", envelope.ErrEmpty},
		{"partitionkey", "", `""`, "", envelope.ErrEmpty},
		{"correlationid", "", `""`, "", envelope.ErrEmpty},
		{"causationid", "", `""`, "", envelope.ErrEmpty},
		{"subject", none, `null`, "", nil},
		{"time", none, `null`, "", nil},
		{"datacontenttype", none, `null`, "", nil},
		{"dataschema", none, `null`, "", nil},
		{"partitionkey", none, `null`, "", nil},
		{"subject", none, `5`, "", envelope.ErrValueType},
		{"time", none, `1524000000`, "", envelope.ErrValueType},

		// Extensions: kept unchanged, of any type that CloudEvents has.
		same("comexampleextension1", "value", "value", nil),
		{"comexampleothervalue", "5", `5`, "5", nil},
		{"x", "true", `true`, "true", nil},
		{"x", "false", `false`, "false", nil},
		{"x", "2147483647", `2147483647`, "2147483647", nil},
		{"x", "-2147483648", `-2147483648`, "-2147483648", nil},
		{"x", none, `-0`, "0", nil},
		{"x", none, `2147483648`, "", envelope.ErrValueType},
		{"x", none, `-2147483649`, "", envelope.ErrValueType},
		{"x", none, `1.5`, "", envelope.ErrValueType},
		{"x", none, `1.0`, "", envelope.ErrValueType},
		{"x", none, `1e3`, "", envelope.ErrValueType},
		{"x", none, `{"a":1}`, "", envelope.ErrValueType},
		{"x", none, `[]`, "", envelope.ErrValueType},
		{"x", none, `null`, "", nil},
		{"x", "2147483648", `"2147483648"`, "2147483648", nil}, // as a string it is one
		{"x", "1.5", `"1.5"`, "1.5", nil},
		{"partitionkey", "7", `7`, "7", nil},
		{"correlationid", "true", `true`, "true", nil},
		same("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", nil),
		same("expirytime", "not a time", "not a time", nil), // its type is not ours to know
		same("sequence", "0001", "0001", nil),

		// Names.
		same("a", "v", "v", nil),
		same("0", "v", "v", nil),
		same("20charactersatthemost", "v", "v", nil), // 21: the spec only advises
		same("data", "v", "", envelope.ErrName),
		same("a_b", "v", "", envelope.ErrName),
		same("a-b", "v", "", envelope.ErrName),
		same("a b", "v", "", envelope.ErrName),
		same("ä", "v", "", envelope.ErrName),
		same("", "v", "", envelope.ErrName),
		{"X", none, `"v"`, "", envelope.ErrName}, // headers may be of any case, members not
		{"ID", none, `"v"`, "", envelope.ErrName},
		{"a_b", none, `null`, "", envelope.ErrName},
		{"data_base64", "v", none, "", envelope.ErrName},

		// Strings.
		{"x", "%01", `"\u0001"`, "", envelope.ErrText},
		{"x", "%0A", `"\n"`, "", envelope.ErrText},
		{"x", "a\tb", `"a\tb"`, "", envelope.ErrText},
		{"x", "%7F", "\"\x7f\"", "", envelope.ErrText},
		{"x", "%C2%80", `"\u0080"`, "", envelope.ErrText},
		{"x", "%C2%9F", `"\u009f"`, "", envelope.ErrText},
		{"x", "%C2%A0", `"\u00a0"`, "\u00a0", nil},
		{"x", "%EF%BF%BE", `"\ufffe"`, "", envelope.ErrText},
		{"x", "%EF%BF%BF", `"\uffff"`, "", envelope.ErrText},
		{"x", "%EF%B7%90", `"\ufdd0"`, "", envelope.ErrText},
		{"x", "%EF%B7%AF", `"\ufdef"`, "", envelope.ErrText},
		{"x", "%EF%B7%8F", `"\ufdcf"`, "\ufdcf", nil},
		{"x", "%EF%B7%B0", `"\ufdf0"`, "\ufdf0", nil},
		{"x", "%EF%BF%BD", `"\ufffd"`, "\ufffd", nil},
		{"x", "%F0%9F%BF%BE", `"\ud83f\udffe"`, "", envelope.ErrText},
		{"x", "%F4%8F%BF%BF", `"\udbff\udfff"`, "", envelope.ErrText},
		{"x", "%F4%8F%BF%BD", `"\udbff\udffd"`, "\U0010fffd", nil},
		{"x", "\xff", none, "", envelope.ErrEscape},
		{"x", none, "\"\xff\"", "", envelope.ErrJSONUTF8},
		{"x", none, `"\ud800"`, "", envelope.ErrJSONSurrogate},
		{"x", none, `"\udc00\ud800"`, "", envelope.ErrJSONSurrogate},
		{"x", "%ED%A0%80", none, "", envelope.ErrEscape}, // a surrogate in UTF-8
		{"id", "%0D%0A", `"\r\n"`, "", envelope.ErrText},
		{"type", "%00", `"\u0000"`, "", envelope.ErrText},
		{"subject", "%EF%BF%BF", `"\uffff"`, "", envelope.ErrText},

		// Percent-encoding and quoting: headers only.
		{"subject", "Euro%20%E2%82%AC%20%F0%9F%98%80", `"Euro € 😀"`, "Euro € 😀", nil},
		{"subject", "%e2%82%ac", `"\u20AC"`, "€", nil}, // lower-case hex
		{"subject", "%41%2D", none, "A-", nil},         // needless
		{"subject", "%2541", `"%41"`, "%41", nil},      // one round only
		{"subject", "%C0%A0", none, "", envelope.ErrEscape},
		{"subject", "%E2%82", none, "", envelope.ErrEscape}, // truncated
		{"subject", "%80", none, "", envelope.ErrEscape},
		{"subject", "100%", `"100%"`, "100%", nil}, // writers that do not encode
		{"subject", "100%4", none, "100%4", nil},
		{"subject", "100%zz", none, "100%zz", nil},
		{"subject", "%%41", none, "%A", nil},
		{"subject", "Euro € 😀", none, "Euro € 😀", nil},
		{"subject", "  a b\t", none, "a b", nil},
		{"subject", `"a b"`, none, "a b", nil},
		{"subject", `"a\"b\\c"`, none, `a"b\c`, nil},
		{"subject", `"%41"`, none, "A", nil},
		{"subject", `"a" b`, none, `"a" b`, nil},
		{"subject", `"a"b"`, none, `"a"b"`, nil},
		{"subject", `"`, none, `"`, nil},
		{"subject", `"a\"`, none, `"a\"`, nil},
		{"subject", `""`, none, "", envelope.ErrEmpty},
		{"subject", `a\b`, `"a\\b"`, `a\b`, nil},
		{"subject", "%22a%22", `"\"a\""`, `"a"`, nil},

		// URIs.
		same("source", "https://github.com/cloudevents", "https://github.com/cloudevents", nil),
		same("source", "mailto:cncf-wg-serverless@lists.cncf.io", "mailto:cncf-wg-serverless@lists.cncf.io", nil),
		same("source", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66", nil),
		same("source", "/sensors/tn-1234567/alerts", "/sensors/tn-1234567/alerts", nil),
		same("source", "1-555-123-4567", "1-555-123-4567", nil),
		same("source", "#frag", "#frag", nil),
		same("source", "?q=a:b/c?d", "?q=a:b/c?d", nil),
		same("source", "a/b:c", "a/b:c", nil),
		same("source", "1a:b", "", envelope.ErrURIReference), // no scheme, and a colon in the first segment
		same("source", ":a", "", envelope.ErrURIReference),
		same("source", "//host:80/p", "//host:80/p", nil),
		same("source", "//host:8x/p", "", envelope.ErrURIReference),
		same("source", "http://u:p@[2001:db8::1]:80/", "http://u:p@[2001:db8::1]:80/", nil),
		same("source", "http://[v7.a:b]/", "http://[v7.a:b]/", nil),
		same("source", "http://[v.a]/", "", envelope.ErrURIReference),
		same("source", "http://[::1", "", envelope.ErrURIReference),
		same("source", "http://[1.2.3.4]/", "", envelope.ErrURIReference),
		same("source", "http://a[b]/", "", envelope.ErrURIReference),
		same("source", "/a[b]", "", envelope.ErrURIReference),
		same("source", "/a#b#c", "", envelope.ErrURIReference),
		same("source", "/a|b", "", envelope.ErrURIReference),
		{"source", "/a%2520b", `"/a%20b"`, "/a%20b", nil},
		{"source", "/a%2520b%25%20", none, "/a%2520b%25%20", nil},
		{"source", none, `"/a%20b%"`, "", envelope.ErrURIReference},
		{"source", none, `"/a%2"`, "", envelope.ErrURIReference},
		{"source", "/a b", `"/a b"`, "", envelope.ErrURIReference},
		{"source", "/ü", `"/ü"`, "", envelope.ErrURIReference},
		{"source", "/a%20b", `"/a%20b"`, "/a%20b", nil}, // a writer that does not encode
		{"source", "/%C3%BC", `"/%C3%BC"`, "/%C3%BC", nil},
		{"source", "/100%25", `"/100%25"`, "/100%25", nil},
		{"source", "/%41", none, "/A", nil}, // the binding's reading comes first
		{"source", "/%2541", `"/%41"`, "/%41", nil},
		{"source", "/%41%20 b", none, "", envelope.ErrURIReference},
		{"source", `/a\b`, `"/a\\b"`, "", envelope.ErrURIReference},
		same("dataschema", "https://example.com/schema/order/1", "https://example.com/schema/order/1", nil),
		same("dataschema", "urn:x:y?q", "urn:x:y?q", nil),
		same("dataschema", "/relative", "", envelope.ErrURI),
		same("dataschema", "https://example.com/a#frag", "", envelope.ErrURI),
		same("dataschema", "1http://a", "", envelope.ErrURI),
		{"dataschema", "http://a b", `"http://a b"`, "", envelope.ErrURI},
		{"dataschema", "http://a/%20b", `"http://a/%20b"`, "http://a/%20b", nil},
		{"subject", "/a%20b", `"/a b"`, "/a b", nil}, // text is decoded, always

		// Media types.
		same("datacontenttype", "application/json", "application/json", nil),
		same("datacontenttype", "APPLICATION/Json", "APPLICATION/Json", nil),
		same("datacontenttype", "application/vnd.a+json", "application/vnd.a+json", nil),
		{"datacontenttype", "text/plain;%20charset=utf-8", `"text/plain; charset=utf-8"`, "text/plain; charset=utf-8", nil},
		{"datacontenttype", "text/plain ; charset=utf-8", `"text/plain ; charset=utf-8"`, "text/plain ; charset=utf-8", nil},
		{"datacontenttype", "a/b;c=%22d;%20e%22;f=g", `"a/b;c=\"d; e\";f=g"`, `a/b;c="d; e";f=g`, nil},
		{"datacontenttype", "a/b;c=%22d%5C%22;e%22", `"a/b;c=\"d\\\";e\""`, `a/b;c="d\";e"`, nil},
		{"datacontenttype", "a/b;c=%22d%5C%22", `"a/b;c=\"d\\\""`, "", envelope.ErrMediaType},
		same("datacontenttype", "text", "", envelope.ErrMediaType),
		same("datacontenttype", "/json", "", envelope.ErrMediaType),
		same("datacontenttype", "text/", "", envelope.ErrMediaType),
		same("datacontenttype", "text/plain;", "", envelope.ErrMediaType),
		same("datacontenttype", "text/plain;a", "", envelope.ErrMediaType),
		same("datacontenttype", "text/plain;a=", "", envelope.ErrMediaType),
		same("datacontenttype", "text/plain,text/html", "", envelope.ErrMediaType),
		same("datacontenttype", "text/pl@in", "", envelope.ErrMediaType),
		{"datacontenttype", "a/b;c=%22d", `"a/b;c=\"d"`, "", envelope.ErrMediaType},
		{"datacontenttype", "text/pl%C3%A4in", `"text/pläin"`, "", envelope.ErrMediaType},
		{"datacontenttype", "text/plain%00", `"text/plain\u0000"`, "", envelope.ErrMediaType},

		// Timestamps.
		same("time", "2018-04-05T17:31:00Z", "2018-04-05T17:31:00Z", nil),
		same("time", "2018-04-05t17:31:00z", "2018-04-05T17:31:00Z", nil),
		same("time", "2018-04-05T17:31:00.1Z", "2018-04-05T17:31:00.1Z", nil),
		same("time", "2018-04-05T17:31:00.123456789Z", "2018-04-05T17:31:00.123456789Z", nil),
		same("time", "2018-04-05T17:31:00.1234567899999Z", "2018-04-05T17:31:00.123456789Z", nil),
		same("time", "2018-04-05T17:31:00+05:45", "2018-04-05T17:31:00+05:45", nil),
		same("time", "2018-04-05T17:31:00-23:59", "2018-04-05T17:31:00-23:59", nil),
		same("time", "2018-04-05T17:31:00-00:00", "2018-04-05T17:31:00Z", nil),
		same("time", "0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z", nil),
		same("time", "9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z", nil),
		same("time", "2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", nil), // leap second
		same("time", "2016-12-31T18:59:60.5-05:00", "2016-12-31T19:00:00.5-05:00", nil),
		same("time", "2016-12-31T12:00:60Z", "", envelope.ErrTimestamp),
		same("time", "2016-12-31T11:59:60Z", "", envelope.ErrTimestamp),
		same("time", "2016-12-31T23:59:60+01:00", "", envelope.ErrTimestamp),
		same("time", "9999-12-31T23:59:60Z", "", envelope.ErrTimestamp),
		same("time", "2020-02-29T00:00:00Z", "2020-02-29T00:00:00Z", nil),
		same("time", "2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z", nil),
		same("time", "2019-02-29T00:00:00Z", "", envelope.ErrTimestamp),
		same("time", "1900-02-29T00:00:00Z", "", envelope.ErrTimestamp),
		same("time", "2018-04-31T00:00:00Z", "", envelope.ErrTimestamp),
		same("time", "2018-13-01T00:00:00Z", "", envelope.ErrTimestamp),
		same("time", "2018-00-01T00:00:00Z", "", envelope.ErrTimestamp),
		same("time", "2018-04-00T00:00:00Z", "", envelope.ErrTimestamp),
		same("time", "2018-04-05T24:00:00Z", "", envelope.ErrTimestamp),
		same("time", "2018-04-05T17:60:00Z", "", envelope.ErrTimestamp),
		same("time", "2018-04-05T17:31:61Z", "", envelope.ErrTimestamp),
		same("time", "2018-04-05T7:31:00Z", "", envelope.ErrTimestamp),
		same("time", "2018-04-05T17:31:00,5Z", "", envelope.ErrTimestamp),
		same("time", "2018-04-05T17:31:00.Z", "", envelope.ErrTimestamp),
		same("time", "2018-04-05T17:31:00", "", envelope.ErrTimestamp),
		same("time", "2018-04-05T17:31Z", "", envelope.ErrTimestamp),
		same("time", "2018-04-05", "", envelope.ErrTimestamp),
		same("time", "2018-04-05 17:31:00Z", "", envelope.ErrTimestamp),
		same("time", "2018-04-05T17:31:00+24:00", "", envelope.ErrTimestamp),
		same("time", "2018-04-05T17:31:00+05:60", "", envelope.ErrTimestamp),
		same("time", "2018-04-05T17:31:00+0545", "", envelope.ErrTimestamp),
		same("time", "2018-04-05T17:31:00Z ", "", envelope.ErrTimestamp),
		same("time", "+018-04-05T17:31:00Z", "", envelope.ErrTimestamp),
		same("time", "0001-01-01T00:00:00Z", "", nil), // what producers send that set no time
		same("time", "yesterday", "", envelope.ErrTimestamp),
	}
}

func TestAttributeCorpus(t *testing.T) {
	t.Parallel()
	for _, tc := range attributeCases() {
		if tc.header != none && !strings.HasSuffix(tc.header, "Z ") {
			h := headers(map[string]string{"ce-" + tc.attr: tc.header})
			got, err := envelope.Unmarshal(&nats.Msg{Header: h})
			requireCase(t, "binary", tc, tc.header, &got, err)
		}
		if tc.json != none {
			got, err := envelope.Unmarshal(structured(document(map[string]string{tc.attr: tc.json})))
			if tc.attr != "data" {
				requireCase(t, "structured", tc, tc.json, &got, err)
			}
		}
	}
}

func requireCase(t *testing.T, mode string, tc attributeCase, wire string, got *envelope.Raw, err error) {
	t.Helper()
	if tc.rule != nil {
		if !errors.Is(err, tc.rule) || !isTyped(err) {
			t.Errorf("%s %s: %.80q: %v, want %q", mode, tc.attr, wire, err, tc.rule)
		}
		if ae, ok := errors.AsType[*envelope.AttributeError](err); ok && strings.TrimPrefix(ae.Attribute, "ce-") != tc.attr {
			t.Errorf("%s %s: the error names %q", mode, tc.attr, ae.Attribute)
		}
		return
	}
	if err != nil {
		t.Errorf("%s %s: %.80q: %v", mode, tc.attr, wire, err)
		return
	}
	if v, ok := value(&got.Attributes, tc.attr); v != tc.want && ok || ok != (tc.want != "") {
		t.Errorf("%s %s: %.80q read as %q, %v, want %q", mode, tc.attr, wire, v, ok, tc.want)
	}
	requireRoundTrip(t, got)
}
