package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain is also the server's and the instances' process: the harness runs
// its own executable, which under test is this one.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && (os.Args[1] == serveArg || os.Args[1] == workArg) {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// TestRows takes real rows, with all their processes. One of watermill is
// among them because the harness must be able to find something.
func TestRows(t *testing.T) {
	t.Parallel()
	var out, progress bytes.Buffer
	args := []string{"-quick", "-scenario", "order,two-value-header", "-contender", "agner,watermill-documented"}
	if err := run(t.Context(), args, strings.NewReader(""), &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	rows := make(map[string]row)
	for dec := json.NewDecoder(&out); dec.More(); {
		var r row
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		rows[r.Scenario+" "+r.Contender] = r
	}
	if len(rows) != 4 {
		t.Errorf("%d rows, want 4", len(rows))
	}
	if r := rows["order agner"]; r.Handled != r.Published || r.Published == 0 || r.Runs != r.Published+r.Published/50 {
		t.Errorf("one run for each event and one more for each 50th: %+v", r)
	}
	if r := rows["two-value-header watermill-documented"]; r.Lost != r.TwoValues || r.Lost == 0 {
		t.Errorf("watermill-nats v2.1.3 drops what it cannot decode, and the harness did not see it: %+v", r)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-scenario", "nonesuch"}, {"-contender", "nonesuch"}, {"-parallel", "-1"}, {"argument"}, {"-nonesuch"},
	} {
		if err := run(t.Context(), args, strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

// TestJournalReadsOn: lines that are not whole yet are left for the next time.
func TestJournalReadsOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a"+journalSuffix)
	j, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []byte{began, handled} {
		if err := j.write(kind, 7, kind == handled); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.file.WriteString("b 8 12"); err != nil {
		t.Fatal(err)
	}
	js := newJournals(dir)
	expect := func(records, events int) {
		t.Helper()
		if r, e, err := js.progress(); r != records || e != events || err != nil {
			t.Errorf("%d records and %d events, want %d and %d: %v", r, e, records, events, err)
		}
	}
	expect(2, 1)
	if _, err := j.file.WriteString("34 false\n"); err != nil {
		t.Fatal(err)
	}
	if err := j.file.Close(); err != nil {
		t.Fatal(err)
	}
	expect(3, 1)
	if last := js.all()[0]; last != (record{kind: began, n: 8, at: 1234}) {
		t.Errorf("the line in two pieces reads %+v", last)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 200)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := js.progress(); err == nil {
		t.Error("a spoiled journal is accepted")
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := printer{out: &out, markdown: true}
	one := scenario{name: "a", ordered: true, plan: plan{FailEvery: 4}, twoEvery: 4}
	rows := []row{
		newRow("agner", one, 4, verdict{handled: 3, runs: 8, dead: 1, failingLeast: 5, failingMost: 5, both: 1}),
		newRow("other", one, 4, verdict{stuck: 4, runs: 9, failingLeast: 2, failingMost: 7}),
		newRow("agner", scenario{name: "b"}, 2, verdict{handled: 2, runs: 2, reordered: 1, worst: 1500 * time.Microsecond}),
	}
	for _, r := range rows {
		if err := p.print(r); err != nil {
			t.Fatal(err)
		}
	}
	want := `| scenario | contender | published | handled | lost | stuck | duplicated | reordered | runs | remarks |
|---|---|---|---|---|---|---|---|---|---|
| a | agner | 4 | 3 | 0 | 0 | 0 | 0 | 8 | delay 0 ms, at most 0 ms; 1 failing: 1 dead letters, 5 runs each; both values seen in 1 of 1 |
|  | other | 4 | 0 | 0 | 4 | 0 | 0 | 9 | nothing handled; 1 failing: 0 dead letters, 2–7 runs each; both values seen in 0 of 1 |
| b | agner | 2 | 2 | 0 | 0 | 0 | – | 2 | delay 0 ms, at most 2 ms |
`
	if have := out.String(); have != want {
		t.Errorf("have\n%s\nwant\n%s", have, want)
	}
}
