package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/agner-go/agner/pkg/deadletter"
)

// Whatever a body holds, it is shown in lines and moves no cursor.
func TestReadable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing": {nil, "  (none)\n"},
		"JSON":    {[]byte(`{"a":[1,"\u001b"]}`), "  {\n    \"a\": [\n      1,\n      \"\\u001b\"\n    ]\n  }\n"},
		"text":    {[]byte("one\n\ttwo\x1b[2J\r"), "  one\n      two\uFFFD[2J \n"},
		"bytes":   {[]byte{0, 0xff, 'a'}, "  00000000  00 ff 61                                          |..a|\n"},
	} {
		if got := readable(c.data); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	long := readable(bytes.Repeat([]byte("ü"), maxShown))
	if !strings.HasSuffix(long, "bytes more: -o json shows all\n") || strings.Contains(long, "\uFFFD") || len(long) > maxShown+100 {
		t.Errorf("long text of %d bytes ends with %q", len(long), long[len(long)-60:])
	}
}

func TestAgo(t *testing.T) {
	t.Parallel()
	for back, want := range map[time.Duration]string{
		3*time.Second + 100*time.Millisecond: "3s", 90 * time.Second: "1m", 26*time.Hour + 5*time.Minute: "26h05m", 100 * time.Hour: "4d",
	} {
		if got := ago(time.Now().Add(-back)); got != want {
			t.Errorf("%s: %q, want %q", back, got, want)
		}
	}
}

// A bar shows on a terminal only, and says how long the rest takes.
func TestProgressBar(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := &progress{w: &out, what: "replayed", total: 200, began: time.Now().Add(-10 * time.Second)}
	p.update(40, 10)
	for _, want := range []string{"[======                  ]  25%", "40 replayed, 10 failed, 5/s", "30s left"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q does not hold %q", out.String(), want)
		}
	}
	if (&app{stderr: &out}).newProgress("replayed", 5).w != nil {
		t.Error("a bar where there is no terminal")
	}
}

func TestNextCommands(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		view letterView
		want int
	}{
		{letterView{Letter: &deadletter.Letter{Sequence: 7, Reason: deadletter.ReasonExhausted}}, 3},
		{letterView{Letter: &deadletter.Letter{Sequence: 7, Reason: deadletter.ReasonInvalid}}, 1},
		{letterView{Letter: &deadletter.Letter{Sequence: 7, Reason: deadletter.ReasonExhausted}, Original: "gone"}, 1},
	} {
		if got := c.view.next(); len(got) != c.want {
			t.Errorf("%+v: %v", c.view, got)
		}
	}
}
