package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/agner-go/agner/pkg/envelope"
)

// TestMain is also the server's process: the harness runs its own executable,
// which under test is this one.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == serveArg {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestOrderHasTheDeclaredSize(t *testing.T) {
	for _, i := range []int{0, 7, 999_999} {
		data, err := json.Marshal(order(i))
		if err != nil {
			t.Fatal(err)
		}
		if len(data) != orderBytes {
			t.Errorf("order %d has %d bytes of JSON, want %d", i, len(data), orderBytes)
		}
	}
}

func TestRawSendsTheMessageIDOfAgner(t *testing.T) {
	if have, want := rawMessageID(orderSource, sampleID), envelope.MessageID(orderSource, sampleID); have != want {
		t.Errorf("raw sends message id %q, Agner %q", have, want)
	}
}

// TestEveryWorkIsVerified runs the whole program, server process included, with
// samples as small as they get.
func TestEveryWorkIsVerified(t *testing.T) {
	var out, progress bytes.Buffer
	cpu, mem := filepath.Join(t.TempDir(), "cpu"), filepath.Join(t.TempDir(), "mem")
	args := []string{"-rounds", "2", "-scale", "1000000", "-json", "-cpuprofile", cpu, "-memprofile", mem}
	if err := run(t.Context(), args, strings.NewReader(""), &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	for _, f := range []string{cpu, mem} {
		if info, err := os.Stat(f); err != nil || info.Size() == 0 {
			t.Errorf("profile %s: %v", f, err)
		}
	}
	have := map[string][]string{}
	dec := json.NewDecoder(&out)
	for dec.More() {
		var r Row
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		have[r.Work] = append(have[r.Work], r.Contender)
		if r.Rounds != 2 || r.Ops != minOps || r.Median <= 0 || r.Allocs <= 0 || r.Min > r.Max || r.ratio() <= 0 {
			t.Errorf("row says %+v", r)
		}
	}
	for _, w := range works() {
		for _, c := range []string{w.base, w.base + again, "agner"} {
			if !slices.Contains(have[w.name], c) {
				t.Errorf("no row for %s by %s", w.name, c)
			}
		}
	}
}

func TestEachRoundStartsWithAnother(t *testing.T) {
	var ran []string
	w := work{name: "trial", ops: 1, base: baseRaw}
	w.run = recordRuns(&ran)
	cs := []contender{raw{name: "raw"}, raw{name: "raw-again"}, agner{}}
	if _, _, err := w.rounds(t.Context(), config{rounds: 3, scale: 1, contenders: cs}, "", func() {}); err != nil {
		t.Fatal(err)
	}
	want := "raw raw-again agner raw-again agner raw agner raw raw-again"
	if have := strings.Join(ran, " "); have != want {
		t.Errorf("samples were taken in the order %s, want %s", have, want)
	}
}

func TestRowsCompareWithinARound(t *testing.T) {
	w := work{name: "trial", base: baseRaw}
	at := func(rates ...int) (out []sample) {
		for _, r := range rates {
			out = append(out, sample{ops: r, took: 1e9})
		}
		return out
	}
	got := rows(w, []string{"raw", "raw-again", "agner"}, map[string][]sample{
		"raw":       at(100, 200, 400),
		"raw-again": at(120, 240, 480),
		"agner":     at(200, 400, 400),
	})
	if r := got[2]; r.RatioToRaw != 2 || r.Min != 1 || r.Max != 2 || r.Median != 400 {
		t.Errorf("agner's row is %+v", r)
	}
	for _, r := range got {
		if !r.Void {
			t.Errorf("%s is not void, though the control is off by a fifth", r.Contender)
		}
	}
}

func TestUnknownNamesAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-works", "publsh"}, {"-contenders", "rawr"}, {"-rounds", "0"}, {"more"}} {
		if _, err := parse(args, new(bytes.Buffer)); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}

func TestTallyRefusesWhatIsWrong(t *testing.T) {
	tl := newTally(2)
	for name, err := range map[string]error{
		"another type":    tl.handle(eventID(0), "other", order(0)),
		"another payload": tl.handle(eventID(0), orderType, order(1)),
		"unknown id":      tl.handle(eventID(2), orderType, order(2)),
		"no id":           tl.handle("", orderType, order(0)),
	} {
		if err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for _, i := range []int{0, 1, 1} {
		if err := tl.handle(eventID(i), orderType, order(i)); err != nil {
			t.Error(err)
		}
	}
	if err := tl.verify(); fmt.Sprint(err) != "1 events were handled twice" {
		t.Errorf("a double gave %v", err)
	}
}

func recordRuns(ran *[]string) func(context.Context, string, contender, int) (sample, error) {
	return func(_ context.Context, _ string, c contender, ops int) (sample, error) {
		*ran = append(*ran, c.Name())
		return sample{ops: ops, took: 1}, nil
	}
}
