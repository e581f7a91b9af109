package envelope_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agner-go/agner/pkg/envelope"
)

// drawEvent draws any legal event.
func drawEvent(t *rapid.T) envelope.Raw {
	text := drawText()
	optional := rapid.OneOf(rapid.Just(""), text)
	e := envelope.Raw{Attributes: envelope.Attributes{
		ID:              text.Draw(t, "id"),
		Source:          drawSource().Draw(t, "source"),
		Type:            text.Draw(t, "type"),
		Subject:         optional.Draw(t, "subject"),
		Time:            drawTime(t),
		DataContentType: drawContentType().Draw(t, "datacontenttype"),
		Key:             optional.Draw(t, "key"),
		CorrelationID:   optional.Draw(t, "correlationid"),
		CausationID:     optional.Draw(t, "causationid"),
	}}
	if rapid.Bool().Draw(t, "has schema") {
		e.DataSchema = rapid.StringMatching(`[a-z][a-z0-9+.-]{0,5}:(//[a-z0-9.]{0,8}(:[0-9]{0,5})?)?(/([a-zA-Z0-9;=@:]|%[0-9A-F]{2}){0,9}){0,3}(\?[a-z/?]{0,5})?`).Draw(t, "dataschema")
	}
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`x[a-z0-9]{0,25}`), 0, 6, rapid.ID[string]).Draw(t, "names")
	slices.Sort(names)
	for _, name := range names {
		e.Extensions = append(e.Extensions, envelope.Extension{Name: name, Value: optional.Draw(t, name)})
	}
	e.Data = rapid.OneOf(rapid.SliceOf(rapid.Byte()), drawJSON()).Draw(t, "data")
	return e
}

// drawText draws what the type String of CloudEvents allows.
func drawText() *rapid.Generator[string] {
	legal := func(r rune) bool {
		return r >= ' ' && (r < 0x7f || r > 0x9f) && (r < 0xfdd0 || r > 0xfdef) && r&0xfffe != 0xfffe
	}
	r := rapid.OneOf(rapid.RuneFrom([]rune(` "%\/+a1é€😀`)), rapid.Rune().Filter(legal))
	return rapid.StringOfN(r, 1, 30, 200)
}

func drawSource() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`(/([a-zA-Z0-9._~!$&'()*+,;=@:-]|%[0-9a-fA-F]{2}){0,9}){1,3}(\?[a-z/?]{0,5})?(#[a-z/?]{0,5})?`).
			Filter(func(s string) bool { return !strings.HasPrefix(s, "//") }),
		rapid.StringMatching(`[a-z][a-z0-9+.-]{0,5}://([a-z:]{0,5}@)?([a-z0-9.]{1,8}|\[::1\])(:[0-9]{0,5})?(/[a-z]{0,5})?`),
		rapid.StringMatching(`[a-z0-9._-]{1,9}`),
	)
}

func drawContentType() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"", "application/json", "TEXT/JSON", "application/vnd.x+json; charset=utf-8", "text/plain", "application/octet-stream"}),
		rapid.StringMatching(`[a-z0-9!#$&^_.+-]{1,9}/[a-z0-9!#$&^_.+-]{1,9}( ?; ?[a-z]{1,5}=([a-z0-9]{1,5}|"[a-z ;,=]{0,9}")){0,2}`),
	)
}

func drawTime(t *rapid.T) time.Time {
	if rapid.Bool().Draw(t, "no time") {
		return time.Time{}
	}
	const year2, year9998 = -62_104_060_800, 253_339_228_800
	sec := rapid.Int64Range(year2, year9998).Draw(t, "seconds")
	nanos := rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")
	minutes := rapid.IntRange(-23*60-59, 23*60+59).Draw(t, "offset")
	return time.Unix(sec, nanos).In(time.FixedZone("", minutes*60))
}

func drawJSON() *rapid.Generator[[]byte] {
	return rapid.Map(rapid.SampledFrom([]string{
		`{}`, ` {} `, `null`, `"\u00e9"`, `{"a":[1.50,-0,1e400]}`, `{"a":1,"a":2}`, `"\ud800"`, `[[[[]]]]`, "[\n1\n]",
	}), func(s string) []byte { return []byte(s) })
}

func TestDecodeOfEncode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		requireRoundTrip(t, &e)
	})
}

// TestTimeOfAnyZone: a zone that RFC 3339 cannot write changes to UTC, and the
// instant stays.
func TestTimeOfAnyZone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := least()
		sec := rapid.Int64Range(0, 1<<33).Draw(t, "seconds")
		offset := rapid.OneOf(
			rapid.IntRange(-100_000, 100_000),
			rapid.SampledFrom([]int{-172_800, -86_460, -86_400, -86_340, 0, 1, 59, 86_340, 86_399, 86_400, 86_460}),
		).Draw(t, "offset")
		e.Time = time.Unix(sec, 1).In(time.FixedZone("x", offset))
		msg, err := envelope.Marshal(&e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := envelope.Unmarshal(msg)
		if err != nil || !got.Time.Equal(e.Time) {
			t.Fatalf("%v came back as %v, %v", e.Time, got.Time, err)
		}
	})
}

// TestTimeAgrees holds the parser against the standard library's over texts
// that both know.
func TestTimeAgrees(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-5][0-9](\.[0-9]{1,12})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])`).Draw(t, "time")
		want, wantErr := time.Parse(time.RFC3339, s)
		got, err := envelope.Unmarshal(structured(document(m("time", `"`+s+`"`))))
		if (err == nil) != (wantErr == nil) || err == nil && !got.Time.Equal(want) {
			t.Fatalf("%s: %v, %v; time.Parse: %v, %v", s, got.Time, err, want, wantErr)
		}
	})
}

func TestHeaderEscape(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "text")
		v := envelope.EscapeHeader(s)
		if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' }) {
			t.Fatalf("%q -> %q", s, v)
		}
		if got, ok := envelope.UnescapeHeader(v); got != s || !ok {
			t.Fatalf("%q -> %q -> %q, %v", s, v, got, ok)
		}
	})
}
