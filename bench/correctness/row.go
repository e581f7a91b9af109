package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// row is what is printed.
type row struct {
	Contender  string `json:"contender"`
	Scenario   string `json:"scenario"`
	Published  int    `json:"published"`
	Handled    int    `json:"handled"`
	Lost       int    `json:"lost"`
	Stuck      int    `json:"stuck"`
	Duplicated int    `json:"duplicated"`
	Reordered  int    `json:"reordered"` // means something with one instance of one worker
	Runs       int    `json:"runs"`

	Instances int `json:"instances"` // at most at a time
	Workers   int `json:"workers"`   // of each
	Dead      int `json:"dead"`
	Crashes   int `json:"crashes"` // instances that ended by themselves

	Failing      int `json:"failing,omitempty"` // events that fail for ever
	FailingLeast int `json:"failing_runs_least,omitempty"`
	FailingMost  int `json:"failing_runs_most,omitempty"`
	TwoValues    int `json:"two_values,omitempty"` // events with a header that stands twice
	BothSeen     int `json:"both_seen,omitempty"`  // of which a handler saw both values

	TypicalMS int64   `json:"delay_median_ms"` // of the events that do not fail for ever
	WorstMS   int64   `json:"delay_most_ms"`
	Seconds   float64 `json:"seconds"`
	Quick     bool    `json:"quick,omitempty"`

	scenario scenario
	dir      string // journals and log, kept if a promise was broken
}

func newRow(contender string, s scenario, published int, v verdict) row {
	r := row{
		Contender: contender, Scenario: s.name, Published: published,
		Handled: v.handled, Lost: v.lost, Stuck: v.stuck,
		Duplicated: v.duplicated, Reordered: v.reordered, Runs: v.runs,
		Instances: s.Instances, Workers: s.Workers, Dead: v.dead,
		FailingLeast: v.failingLeast, FailingMost: v.failingMost, BothSeen: v.both,
		TypicalMS: v.typical.Round(time.Millisecond).Milliseconds(),
		WorstMS:   v.worst.Round(time.Millisecond).Milliseconds(),
		scenario:  s,
	}
	for n := range published {
		if s.failsForEver(n) {
			r.Failing++
		}
		if isNth(n, s.twoEvery) {
			r.TwoValues++
		}
	}
	return r
}

// breach says what Agner has promised and this row does not show. Of others it
// says nothing.
func (r row) breach() error {
	if r.Contender != (agner{}).Name() {
		return nil
	}
	var errs []error
	broken := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("BROKEN by %s in %s: "+format, append([]any{r.Contender, r.Scenario}, args...)...))
	}
	if r.Lost > 0 || r.Stuck > 0 {
		broken("%d lost and %d stuck of %d", r.Lost, r.Stuck, r.Published)
	}
	if r.Duplicated > 0 && r.scenario.mayRepeat == "" {
		broken("%d handled twice", r.Duplicated)
	}
	if r.Reordered > 0 && r.scenario.ordered {
		broken("%d reordered that had not failed", r.Reordered)
	}
	if r.Crashes > 0 {
		broken("%d instances ended by themselves", r.Crashes)
	}
	if r.Dead != r.Failing || r.Failing > 0 && (r.FailingLeast != attempts || r.FailingMost != attempts) {
		broken("%d of %d failing events are dead letters, after %d to %d runs instead of %d",
			r.Dead, r.Failing, r.FailingLeast, r.FailingMost, attempts)
	}
	if r.BothSeen != r.TwoValues {
		broken("both values of a header were seen in %d of %d events", r.BothSeen, r.TwoValues)
	}
	if len(errs) > 0 && r.dir != "" {
		errs = append(errs, fmt.Errorf("journals and log of that row are in %s", r.dir))
	}
	return errors.Join(errs...)
}

// printer prints rows in one of two forms.
type printer struct {
	out      io.Writer
	markdown bool
	last     string // scenario of the row before
}

func (p *printer) print(r row) error {
	if !p.markdown {
		return json.NewEncoder(p.out).Encode(r)
	}
	if p.last == "" {
		fmt.Fprintln(p.out, "| scenario | contender | published | handled | lost | stuck | duplicated | reordered | runs | remarks |")
		fmt.Fprintln(p.out, "|---|---|---|---|---|---|---|---|---|---|")
	}
	name := r.Scenario
	if name == p.last {
		name = ""
	}
	p.last = r.Scenario
	reordered := "–"
	if r.scenario.ordered {
		reordered = strconv.Itoa(r.Reordered)
	}
	_, err := fmt.Fprintf(p.out, "| %s | %s | %d | %d | %d | %d | %d | %s | %d | %s |\n",
		name, r.Contender, r.Published, r.Handled, r.Lost, r.Stuck, r.Duplicated, reordered, r.Runs, r.remarks())
	return err
}

func (r row) remarks() string {
	out := fmt.Sprintf("delay %d ms, at most %d ms", r.TypicalMS, r.WorstMS)
	if r.Handled == 0 {
		out = "nothing handled"
	}
	if r.Failing > 0 {
		out += fmt.Sprintf("; %d failing: %d dead letters, %s runs each", r.Failing, r.Dead, span(r.FailingLeast, r.FailingMost))
	} else if r.Dead > 0 {
		out += fmt.Sprintf("; %d dead letters", r.Dead)
	}
	if r.TwoValues > 0 {
		out += fmt.Sprintf("; both values seen in %d of %d", r.BothSeen, r.TwoValues)
	}
	if r.Crashes > 0 {
		out += fmt.Sprintf("; %d crashes", r.Crashes)
	}
	return out
}

func span(least, most int) string {
	if least == most {
		return strconv.Itoa(least)
	}
	return fmt.Sprintf("%d–%d", least, most)
}
