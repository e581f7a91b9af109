package test_test

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"pgregory.net/rapid"

	"github.com/agner-go/agner/pkg/envelope"
)

// texts says which characters the free-text attributes are made of.
type texts int

const (
	plainTexts texts = iota // those that stand for themselves in a header
	richTexts               // spaces, quotes, percent signs, other alphabets too
)

func (k texts) draw(t *rapid.T, label string) string {
	plain := rapid.RuneFrom([]rune("abcXYZ019-._~:/?#[]@!$&'()*+,;=<>{}|^`\\"))
	if k == plainTexts {
		return rapid.StringOfN(plain, 1, 24, -1).Draw(t, label)
	}
	rich := rapid.RuneFrom([]rune(" \"%%%4€é中😀\u00a0\u2028"))
	// The SDK takes white space off the ends: differences_test.go.
	trimmed := func(s string) bool { return strings.TrimSpace(s) == s }
	return rapid.StringOfN(rapid.OneOf(plain, rich), 1, 24, -1).Filter(trimmed).Draw(t, label)
}

// events generates valid events.
func events(k texts) *rapid.Generator[envelope.Raw] {
	return rapid.Custom(func(t *rapid.T) envelope.Raw {
		e := envelope.Raw{}
		e.ID = k.draw(t, "id")
		e.Source = rapid.StringMatching(`(https?://example\.com)?(/[a-z0-9._~-]{1,5}){1,3}`).Draw(t, "source")
		e.Type = rapid.StringMatching(`[a-z]{1,5}(\.[a-z0-9]{1,5}){0,3}`).Draw(t, "type")
		if rapid.Bool().Draw(t, "has subject") {
			e.Subject = k.draw(t, "subject")
		}
		if rapid.Bool().Draw(t, "has time") {
			ns := rapid.Int64Range(0, 4e18).Draw(t, "time")
			zone := time.FixedZone("", 60*rapid.IntRange(-14*60, 14*60).Draw(t, "zone"))
			e.Time = time.Unix(0, ns).In(zone)
		}
		if rapid.Bool().Draw(t, "has schema") {
			e.DataSchema = "https://example.com/" + rapid.StringMatching(`[a-z0-9/]{0,9}`).Draw(t, "schema")
		}
		for _, dst := range []*string{&e.Key, &e.CorrelationID, &e.CausationID} {
			if rapid.Bool().Draw(t, "has field") {
				*dst = k.draw(t, "field")
			}
		}
		e.Extensions = extensions(t, k)
		e.DataContentType, e.Data = data(t)
		return e
	})
}

func extensions(t *rapid.T, k texts) []envelope.Extension {
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`x[a-z0-9]{1,9}`), 0, 3, rapid.ID).Draw(t, "names")
	slices.Sort(names)
	var out []envelope.Extension
	for _, name := range names {
		out = append(out, envelope.Extension{Name: name, Value: k.draw(t, "extension")})
	}
	return out
}

func data(t *rapid.T) (contentType string, data []byte) {
	switch rapid.IntRange(0, 3).Draw(t, "data") {
	case 0:
		v := map[string]any{
			"n": rapid.Int64().Draw(t, "n"),
			"s": rapid.String().Draw(t, "s"),
			"l": rapid.SliceOf(rapid.Bool()).Draw(t, "l"),
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return "application/json", b
	case 1:
		return "text/plain", []byte(rapid.StringN(1, 40, -1).Draw(t, "text"))
	case 2:
		return "application/octet-stream", rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "bytes")
	}
	return "", nil
}

// asSDK makes the SDK's event by the SDK's own setters, so that Agner's
// conversion is not its own judge.
func asSDK(t fataler, e *envelope.Raw) event.Event {
	t.Helper()
	out := event.New()
	out.SetID(e.ID)
	out.SetSource(e.Source)
	out.SetType(e.Type)
	if e.Subject != "" {
		out.SetSubject(e.Subject)
	}
	if !e.Time.IsZero() {
		out.SetTime(e.Time)
	}
	if e.DataSchema != "" {
		out.SetDataSchema(e.DataSchema)
	}
	for name, v := range map[string]string{"partitionkey": e.Key, "correlationid": e.CorrelationID, "causationid": e.CausationID} {
		if v != "" {
			out.SetExtension(name, v)
		}
	}
	for _, x := range e.Extensions {
		out.SetExtension(x.Name, x.Value)
	}
	if e.Data != nil {
		var err error
		if strings.HasSuffix(e.DataContentType, "json") {
			err = out.SetData(e.DataContentType, json.RawMessage(e.Data))
		} else {
			err = out.SetData(e.DataContentType, e.Data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Validate(); err != nil {
		t.Fatalf("the SDK refuses the generated event: %v", err)
	}
	return out
}
