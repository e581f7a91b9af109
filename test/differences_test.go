package test_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

// The differences between Agner and the CNCF SDK v2.16.2 (NATS binding
// nats_jetstream/v2) stand in docs/wire.md, numbered, and each is shown here. A
// test that fails after an update of the SDK is good news: a difference has
// gone, and its row with it.

func TestEveryDifferenceOfTheDocsIsShown(t *testing.T) {
	text, err := os.ReadFile("../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []int
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \| `).FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, n)
	}
	if len(listed) < 30 {
		t.Fatalf("docs/wire.md lists %d differences: has its table another form now?", len(listed))
	}
	var shown []int
	for _, d := range readingDifferences() {
		shown = append(shown, d.row)
	}
	for _, d := range otherDifferences() {
		shown = append(shown, d.row)
	}
	slices.Sort(shown)
	for _, n := range listed {
		if !slices.Contains(shown, n) {
			t.Errorf("row %d of docs/wire.md is shown by no test", n)
		}
	}
	for _, n := range slices.Compact(shown) {
		if !slices.Contains(listed, n) {
			t.Errorf("a test shows row %d, which docs/wire.md does not list", n)
		}
	}
}

// readingDifference is a message of which both make something else.
type readingDifference struct {
	row        int // in docs/wire.md
	name       string
	header     nats.Header
	body       string
	agner, sdk reading
	rule       error // that Agner's error matches
}

// reading is what one side makes of a message: an error that contains a text,
// or an attribute, or the data, with a value; "" means that it is absent.
type reading struct {
	err   string
	attr  string
	value string
}

func refuses(text string) reading      { return reading{err: text} }
func reads(attr, value string) reading { return reading{attr: attr, value: value} }

// theData stands for the data in a reading: an attribute may be named so.
const theData = "the data"

func TestReadingDifferences(t *testing.T) {
	c := newCarrier(t)
	for _, d := range readingDifferences() {
		t.Run(fmt.Sprintf("%d %s", d.row, d.name), func(t *testing.T) {
			msg := c.carry(t, d.header, []byte(d.body))
			var p portrait
			sdk, err := sdkReadSafely(t.Context(), msg)
			if err == nil {
				p = portraitOfSDK(t, sdk)
			}
			d.sdk.check(t, "the SDK", p, err)

			own, err := envelope.Unmarshal(msg)
			d.agner.check(t, "Agner", portraitOf(&own), err)
			if d.rule != nil && !errors.Is(err, d.rule) {
				t.Errorf("Agner's error %v does not match %v", err, d.rule)
			}
		})
	}
}

// sdkReadSafely makes an error of the SDK's panics.
func sdkReadSafely(ctx context.Context, msg *nats.Msg) (e *event.Event, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return sdkRead(ctx, msg)
}

func (r reading) check(t *testing.T, who string, p portrait, err error) {
	t.Helper()
	if r.err != "" {
		if err == nil {
			t.Errorf("%s accepts: %s", who, p)
		} else if !strings.Contains(err.Error(), r.err) {
			t.Errorf("%s refuses with %q, want %q in it", who, err, r.err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s refuses: %v", who, err)
		return
	}
	got := p.attributes[r.attr]
	if r.attr == theData {
		got = p.data
	}
	if got != r.value {
		t.Errorf("%s reads %s as %q, want %q", who, r.attr, got, r.value)
	}
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
		h[pairs[i]] = []string{pairs[i+1]}
	}
	return h
}

// object is a structured event's body with more members.
func object(more string) string {
	return `{"specversion":"1.0","id":"1","source":"/s","type":"t"` + more + `}`
}
