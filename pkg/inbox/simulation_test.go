package inbox

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestSimulation drives the pure parts, who owns what, what a claim and a commit
// make of a cursor, in fake time under pauses, crashes, lost and late messages.
// Whatever happens, no position is committed twice, nothing is lost or out of
// order; and when the faults stop, every partition has an owner, each instance its
// fair share or one more or less, and nobody claims any more.
//
// AGNER_SIMULATION_STEPS sets the length, AGNER_SIMULATION_SEED the seed.
func TestSimulation(t *testing.T) {
	t.Parallel()
	steps, seed := number(t, "AGNER_SIMULATION_STEPS", 60_000), number(t, "AGNER_SIMULATION_SEED", 1)
	w := newSimWorld(uint64(seed))
	for calms := 1; w.steps < steps; calms++ {
		w.runFor(time.Minute)
		w.calm = true
		w.runFor(simTTL + 8*patience) // each in the ranking may have to wait for its turn
		w.silent = true
		w.runFor(5 * time.Second)
		if len(w.broken) == 0 {
			w.checkCalm()
		}
		w.calm, w.silent = false, false
		if len(w.broken) > 0 {
			t.Fatalf("seed %d, after %d steps:\n%s", seed, w.steps, strings.Join(w.broken, "\n"))
		}
	}
	t.Logf("seed %d: %d steps, %s, %d faults, %d claims, %d commits, %d refused, %d resolved, %d repeats skipped",
		seed, w.steps, w.now.Round(time.Second), w.faults, w.claims, w.commits, w.fenced, w.resolved, w.repeats)
	for what, n := range map[string]int{"claims": w.claims, "commits": w.commits, "refused": w.fenced, "resolved": w.resolved, "repeats": w.repeats} {
		if n == 0 {
			t.Errorf("no %s: the simulation does not reach what it is for", what)
		}
	}
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func (w *simWorld) runFor(d time.Duration) {
	for end := w.now + d; w.now < end && len(w.broken) == 0; {
		w.step()
	}
}

// checkCalm looks at a world in which nothing has happened for a while.
func (w *simWorld) checkCalm() {
	if since := w.now - w.lastClaim; since < 5*time.Second {
		w.fail("calm: a partition was claimed %s ago", since)
	}
	loads := make(map[string]int)
	for p := range w.parts {
		part := &w.parts[p]
		if n := len(part.mailbox) - part.done; n > 0 {
			w.fail("calm: partition %d: %d messages are not committed; owner %q, position %d", p, n, part.cursor.Owner, part.cursor.Position)
		}
		owners := 0
		for _, n := range w.nodes {
			if n.runs[p] != nil {
				owners++
				loads[n.id]++
			}
		}
		if owners != 1 {
			w.fail("calm: partition %d is run by %d instances", p, owners)
		}
	}
	fair := simPartitions / len(w.nodes)
	for _, n := range w.nodes {
		if load := loads[n.id]; load < fair || load > fair+1 {
			w.fail("calm: %s has %d partitions of %d among %d instances: %s", n.id, load, simPartitions, len(w.nodes), fmt.Sprint(loads))
		}
	}
}
