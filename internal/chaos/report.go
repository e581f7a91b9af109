package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Result is the outcome of a run, as the last line of its report shows it.
type Result struct {
	Messages int `json:"messages"` // acknowledged to their senders
	Outputs  int `json:"outputs"`  // found in EVENTS
	Faults   int `json:"faults"`
	Verdict
	Fenced  int     `json:"fenced"` // commits that the server refused, as the workers tell
	Cluster int     `json:"cluster"`
	Seconds float64 `json:"seconds"`
	Rate    int     `json:"rate"` // messages a second, while they were sent
	Seed    uint64  `json:"seed"`

	Kinds   map[Kind]int  `json:"kinds"`
	Settled time.Duration `json:"-"` // from the last message to the last output
	Slowest time.Duration `json:"-"` // longest time until a message was acknowledged
	Resent  int           `json:"-"` // messages that took more than one try
	Plan    []Fault       `json:"-"`
}

// OK says that the promise held.
func (r *Result) OK() bool { return r.Broken() == 0 }

// Write writes the report for humans, and the result as one line of JSON.
func (r *Result) Write(w io.Writer) error {
	fmt.Fprintf(w, "%d messages to %d entities, %d outputs, %d servers, seed %d\n", r.Messages, r.Entities, r.Outputs, r.Cluster, r.Seed)
	fmt.Fprintf(w, "%.1f s, %d messages/s; the last output %s after the last message\n", r.Seconds, r.Rate, r.Settled.Round(time.Millisecond))
	fmt.Fprintf(w, "slowest acknowledgement %s, %d messages took more than one try\n", r.Slowest.Round(time.Millisecond), r.Resent)
	fmt.Fprintf(w, "%d faults, %d commits refused:\n", r.Faults, r.Fenced)
	for _, k := range slices.Sorted(maps.Keys(r.Kinds)) {
		fmt.Fprintf(w, "  %-12s %4d\n", k, r.Kinds[k])
	}
	fmt.Fprintf(w, "wrong %d, reordered %d, lost %d, doubled %d\n", r.Wrong, r.Reordered, r.Lost, r.Doubled)
	for _, e := range r.Examples {
		fmt.Fprintf(w, "  %s\n", e)
	}
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	fmt.Fprintf(w, "%s\n", line)
	return nil
}
