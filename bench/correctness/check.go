package main

import (
	"slices"
	"time"
)

// evidence is all that the checker looks at.
type evidence struct {
	events  []stored // in the order of the stream
	dead    []stored
	records []record // in the order of their times
	left    outstanding
}

// verdict is what it makes of it.
type verdict struct {
	handled, lost, stuck, duplicated, reordered, runs, dead int

	failingLeast, failingMost int // runs of the events that fail for ever
	both                      int // events of which the handler saw both values
	typical, worst            time.Duration
}

// check counts. An event is
//
//   - handled if a run of the handler returned nil for it;
//   - lost if it was neither handled nor dead-lettered and the server will not
//     bring it again: the group has settled it;
//   - stuck if it was neither when the row ended, and the server still holds it
//     for the group, or the group's durable is gone;
//   - duplicated once for each nil-returning run beyond the first;
//   - reordered if its first nil-returning run came after that of an event that
//     stands behind it in the stream, and none of its own runs had failed.
func check(e evidence, failing func(n int) bool) verdict {
	var v verdict
	seqs := make(map[int]uint64, len(e.events))
	for _, ev := range e.events {
		seqs[ev.n] = ev.seq
	}
	dead := make(map[int]bool, len(e.dead))
	for _, d := range e.dead {
		dead[d.n] = true
	}
	v.dead = len(dead)

	first := make(map[int]int64) // time of the first nil-returning run
	runs := make(map[int]int)
	both := make(map[int]bool)
	hadFailed := make(map[int]bool)
	var newest uint64
	for _, r := range e.records {
		switch r.kind {
		case began:
			v.runs++
			runs[r.n]++
		case failed, cancelled:
			hadFailed[r.n] = true
		case handled:
			both[r.n] = both[r.n] || r.both
			if _, again := first[r.n]; again {
				v.duplicated++
				continue
			}
			first[r.n] = r.at
			switch seq := seqs[r.n]; {
			case seq > newest:
				newest = seq
			case !hadFailed[r.n]:
				v.reordered++
			}
		}
	}
	v.handled = len(first)
	for _, seen := range both {
		if seen {
			v.both++
		}
	}
	v.lost, v.stuck = unhandled(e, first, dead)
	v.failingLeast, v.failingMost = spread(e.events, runs, failing)
	v.typical, v.worst = delays(e.events, first, failing)
	return v
}

// unhandled parts what was neither handled nor dead-lettered into lost and
// stuck. Where the server does not say which, stuck is assumed.
func unhandled(e evidence, first map[int]int64, dead map[int]bool) (lost, stuck int) {
	all, below := 0, 0
	for _, ev := range e.events {
		if _, ok := first[ev.n]; ok || dead[ev.n] {
			continue
		}
		all++
		if e.left.durable && ev.seq <= e.left.floor {
			below++
		}
	}
	if e.left.durable {
		lost = max(below, all-e.left.events)
	}
	return lost, all - lost
}

func spread(events []stored, runs map[int]int, failing func(int) bool) (least, most int) {
	var counts []int
	for _, ev := range events {
		if failing(ev.n) {
			counts = append(counts, runs[ev.n])
		}
	}
	if len(counts) == 0 {
		return 0, 0
	}
	return slices.Min(counts), slices.Max(counts)
}

// delays are the median and the greatest time from the storing of an event to
// the end of its first nil-returning run, without those that are made to fail.
func delays(events []stored, first map[int]int64, failing func(int) bool) (typical, worst time.Duration) {
	var all []time.Duration
	for _, ev := range events {
		if at, ok := first[ev.n]; ok && !failing(ev.n) {
			all = append(all, time.Duration(at-ev.at))
		}
	}
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)-1]
}
