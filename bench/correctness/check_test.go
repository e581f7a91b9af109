package main

import (
	"slices"
	"testing"
	"time"
)

// day is evidence of n events that were stored a millisecond apart, each
// handled once, in order; the tests spoil it.
func day(n int) evidence {
	e := evidence{left: outstanding{durable: true, floor: uint64(n)}}
	for i := range n {
		at := int64(i) * int64(time.Millisecond)
		e.events = append(e.events, stored{n: i, seq: uint64(i + 1), at: at})
		e.records = append(e.records, line(i, began, at), line(i, handled, at+1))
	}
	return e
}

func of(n int, kind byte) func(record) bool {
	return func(r record) bool { return r.n == n && r.kind == kind }
}

func line(n int, kind byte, at int64) record { return record{kind: kind, n: n, at: at} }

func none(int) bool { return false }

func TestCheckCounts(t *testing.T) {
	t.Parallel()
	second := func(n int) bool { return n == 1 }
	for name, tc := range map[string]struct {
		spoil   func(e *evidence)
		failing func(int) bool
		want    verdict
	}{
		"nothing": {func(*evidence) {}, none, verdict{handled: 4, runs: 4}},
		"an event that the group settled unhandled is lost": {func(e *evidence) {
			e.records = slices.DeleteFunc(e.records, of(2, handled))
		}, none, verdict{handled: 3, runs: 4, lost: 1}},
		"an event that the server still holds is stuck": {func(e *evidence) {
			e.records = slices.DeleteFunc(e.records, of(2, handled))
			e.left = outstanding{durable: true, floor: 2, events: 1}
		}, none, verdict{handled: 3, runs: 4, stuck: 1}},
		"of two with one outstanding the other is lost": {func(e *evidence) {
			e.records = e.records[:4]
			e.left = outstanding{durable: true, floor: 2, events: 1}
		}, none, verdict{handled: 2, runs: 2, stuck: 1, lost: 1}},
		"what is below the floor is lost, whatever is outstanding": {func(e *evidence) {
			e.records = e.records[2:]
			e.left = outstanding{durable: true, floor: 1, events: 3}
		}, none, verdict{handled: 3, runs: 3, lost: 1}},
		"without a durable nobody has settled anything": {func(e *evidence) {
			e.records = e.records[:2]
			e.left = outstanding{}
		}, none, verdict{handled: 1, runs: 1, stuck: 3}},
		"a dead letter is neither lost nor stuck": {func(e *evidence) {
			e.records[3].kind = failed
			e.dead = []stored{{n: 1}}
		}, second, verdict{handled: 3, runs: 4, dead: 1, failingLeast: 1, failingMost: 1}},
		"a second successful run is a duplicate": {func(e *evidence) {
			e.records = append(e.records, line(0, began, 9e9), line(0, handled, 9e9), line(3, began, 9e9), line(3, handled, 9e9))
		}, none, verdict{handled: 4, runs: 6, duplicated: 2}},
		"a failed run beside a successful one is no duplicate": {func(e *evidence) {
			e.records = append([]record{line(0, began, -2), line(0, failed, -1)}, e.records...)
		}, none, verdict{handled: 4, runs: 5}},
		"an event behind its successor is reordered": {func(e *evidence) {
			e.records[0], e.records[1], e.records[2], e.records[3] = e.records[2], e.records[3], e.records[0], e.records[1]
		}, none, verdict{handled: 4, runs: 4, reordered: 1}},
		"unless it had failed": {func(e *evidence) {
			e.records = append([]record{line(0, began, -2), line(0, failed, -1)}, e.records...)
			e.records[2], e.records[3], e.records[4], e.records[5] = e.records[4], e.records[5], e.records[2], e.records[3]
		}, none, verdict{handled: 4, runs: 5}},
		"both values seen": {func(e *evidence) {
			e.records[1].both = true
		}, none, verdict{handled: 4, runs: 4, both: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := day(4)
			tc.spoil(&e)
			have := check(e, tc.failing)
			have.typical, have.worst = 0, 0
			if have != tc.want {
				t.Errorf("have %+v\nwant %+v", have, tc.want)
			}
		})
	}
}

func TestDelays(t *testing.T) {
	t.Parallel()
	e := day(5)
	e.records[9].at += int64(time.Second) // the last event
	v := check(e, none)
	if v.typical != 1 || v.worst != time.Second+1 {
		t.Errorf("delays %s and %s, want 1ns and 1.000000001s", v.typical, v.worst)
	}
	if v := check(e, func(n int) bool { return n == 4 }); v.worst != 1 {
		t.Errorf("greatest delay without the failing event is %s, want 1ns", v.worst)
	}
}

func TestVerifyStored(t *testing.T) {
	t.Parallel()
	events := []stored{{n: 0, seq: 1}, {n: 1, seq: 2}}
	for name, tc := range map[string]struct {
		confirmed map[int]uint64
		ok        bool
	}{
		"as confirmed":      {map[int]uint64{0: 1, 1: 2}, true},
		"one is not stored": {map[int]uint64{0: 1, 1: 2, 2: 3}, false},
		"one is too many":   {map[int]uint64{0: 1}, false},
		"stored elsewhere":  {map[int]uint64{0: 1, 1: 3}, false},
		"stored as another": {map[int]uint64{0: 1, 2: 2}, false},
	} {
		if err := verifyStored(events, tc.confirmed); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBreachTellsWhatAgnerPromised(t *testing.T) {
	t.Parallel()
	good := func() row {
		return newRow("agner", scenario{name: "x", ordered: true, plan: plan{FailEvery: 4}, twoEvery: 2}, 4, verdict{
			handled: 3, runs: 8, dead: 1, failingLeast: attempts, failingMost: attempts, both: 2,
		})
	}
	for name, tc := range map[string]struct {
		spoil func(r *row)
		ok    bool
	}{
		"nothing":                        {func(*row) {}, true},
		"lost":                           {func(r *row) { r.Lost = 1 }, false},
		"stuck":                          {func(r *row) { r.Stuck = 1 }, false},
		"duplicated":                     {func(r *row) { r.Duplicated = 1 }, false},
		"duplicated where it may happen": {func(r *row) { r.Duplicated, r.scenario.mayRepeat = 1, "a kill" }, true},
		"reordered":                      {func(r *row) { r.Reordered = 1 }, false},
		"reordered among many workers":   {func(r *row) { r.Reordered, r.scenario.ordered = 1, false }, true},
		"crashed":                        {func(r *row) { r.Crashes = 1 }, false},
		"not dead-lettered":              {func(r *row) { r.Dead = 0 }, false},
		"one run too few":                {func(r *row) { r.FailingLeast-- }, false},
		"one run too many":               {func(r *row) { r.FailingMost++ }, false},
		"second value gone":              {func(r *row) { r.BothSeen = 1 }, false},
		"another contender":              {func(r *row) { r.Contender, r.Lost = "watermill-documented", 1 }, true},
	} {
		r := good()
		tc.spoil(&r)
		if err := r.breach(); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
