package test_test

import (
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	"pgregory.net/rapid"

	"github.com/agner-go/agner/pkg/envelope"
)

// What one side writes the other reads, for generated events, in both modes and
// both directions. In binary mode the SDK neither encodes nor decodes header
// values, so there the two agree on plain texts; the tests of rich texts say
// exactly how they differ.

func TestSDKReadsBinary(t *testing.T) {
	c := newCarrier(t)
	rapid.Check(t, func(t *rapid.T) {
		e := events(plainTexts).Draw(t, "event")
		msg, err := envelope.Marshal(&e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := sdkRead(t.Context(), c.carry(t, msg.Header, msg.Data))
		if err != nil {
			t.Fatal(err)
		}
		compare(t, portraitOfSDK(t, got), portraitOf(&e))
	})
}

// TestSDKReadsRichTextEncoded: the SDK hands out the percent-encoded values.
func TestSDKReadsRichTextEncoded(t *testing.T) {
	c := newCarrier(t)
	rapid.Check(t, func(t *rapid.T) {
		e := events(richTexts).Draw(t, "event")
		msg, err := envelope.Marshal(&e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := sdkRead(t.Context(), c.carry(t, msg.Header, msg.Data))
		if err != nil {
			t.Fatal(err)
		}
		want := portraitOf(&e)
		for name, v := range want.attributes {
			want.attributes[name] = percentEncode(v)
		}
		compare(t, portraitOfSDK(t, got), want)
	})
}

func TestAgnerReadsBinaryOfSDK(t *testing.T) {
	c := newCarrier(t)
	rapid.Check(t, func(t *rapid.T) {
		e := events(plainTexts).Draw(t, "event")
		sdk := asSDK(t, &e)
		header, body, err := sdkWrite(t.Context(), &sdk)
		if err != nil {
			t.Fatal(err)
		}
		got, err := envelope.Unmarshal(c.carry(t, header, body))
		if err != nil {
			t.Fatal(err)
		}
		compare(t, portraitOf(&got), portraitOf(&e))
	})
}

// TestAgnerReadsRichTextOfSDK: the SDK writes rich text as it stands. Agner
// reads that too, but for what looks percent-encoded or quoted, which it decodes as the binding says.
func TestAgnerReadsRichTextOfSDK(t *testing.T) {
	c := newCarrier(t)
	plain := events(richTexts).Filter(func(e envelope.Raw) bool { // differences_test.go has the others
		for name, v := range portraitOf(&e).attributes {
			if ambiguous(v) && name != "time" {
				return false
			}
		}
		return true
	})
	rapid.Check(t, func(t *rapid.T) {
		e := plain.Draw(t, "event")
		sdk := asSDK(t, &e)
		header, body, err := sdkWrite(t.Context(), &sdk)
		if err != nil {
			t.Fatal(err)
		}
		got, err := envelope.Unmarshal(c.carry(t, header, body))
		if err != nil {
			t.Fatal(err)
		}
		compare(t, portraitOf(&got), portraitOf(&e))
	})
}

func TestSDKReadsStructured(t *testing.T) {
	c := newCarrier(t)
	rapid.Check(t, func(t *rapid.T) {
		e := events(richTexts).Draw(t, "event")
		msg, err := envelope.MarshalStructured(&e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := sdkRead(t.Context(), c.carry(t, msg.Header, msg.Data))
		if err != nil {
			t.Fatalf("%v\n%s", err, msg.Data)
		}
		compare(t, portraitOfSDK(t, got), portraitOf(&e))
	})
}

// TestAgnerReadsStructuredOfSDK: without a Content-Type, which the SDK does not
// send.
func TestAgnerReadsStructuredOfSDK(t *testing.T) {
	c := newCarrier(t)
	rapid.Check(t, func(t *rapid.T) {
		e := events(richTexts).Draw(t, "event")
		sdk := asSDK(t, &e)
		header, body, err := sdkWrite(binding.WithForceStructured(t.Context()), &sdk)
		if err != nil {
			t.Fatal(err)
		}
		if len(header) != 0 {
			t.Fatalf("the SDK now sends headers with a structured event, say so in docs/wire.md: %v", header)
		}
		got, err := envelope.Unmarshal(c.carry(t, header, body))
		if err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
		compare(t, portraitOf(&got), portraitOf(&e))
	})
}

// TestConversionsAgree: ToSDK and FromSDK beside the SDK's own setters.
func TestConversionsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := events(richTexts).Draw(t, "event")
		to, err := envelope.ToSDK(&e)
		if err != nil {
			t.Fatal(err)
		}
		sdk := asSDK(t, &e)
		compare(t, portraitOfSDK(t, &to), portraitOfSDK(t, &sdk))
		from, err := envelope.FromSDK(sdk)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, portraitOf(&from), portraitOf(&e))
	})
}

func compare(t fataler, got, want portrait) {
	t.Helper()
	if !got.equal(want) {
		t.Fatalf("got %s\nwant %s", got, want)
	}
}

// percentEncode is the binding's rule, written anew from its text.
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 0x21 && c <= 0x7e && c != '"' && c != '%' {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}

// ambiguous tells whether a value means something else once it has gone as a
// header unencoded.
func ambiguous(v string) bool {
	quoted := len(v) > 1 && strings.HasPrefix(v, `"`) && strings.HasSuffix(v, `"`)
	return quoted || strings.TrimSpace(v) != v || hasEscape(v)
}

func hasEscape(v string) bool {
	for i := range len(v) - 2 {
		if v[i] == '%' && strings.IndexByte("0123456789abcdefABCDEF", v[i+1]) >= 0 && strings.IndexByte("0123456789abcdefABCDEF", v[i+2]) >= 0 {
			return true
		}
	}
	return false
}
