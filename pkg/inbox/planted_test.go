package inbox

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/agner-go/agner/internal/planted"
)

// pureBugs are bugs in the pure parts; those in what talks to the server are
// internal/chaos's.
var pureBugs = []planted.Bug{
	{Rule: "a claim keeps the epoch", Edits: []planted.Edit{
		{File: "cursor.go", Old: "next.Owner, next.Epoch = owner, c.Epoch+1\n", New: "next.Owner, next.Epoch = owner, max(1, c.Epoch)\n"},
	}},
	{Rule: "a claim begins from the start", Edits: []planted.Edit{
		{File: "cursor.go", Old: "	if next.Mailbox != mailbox {\n", New: "	if next.Mailbox != mailbox+1 {\n"},
	}},
	{Rule: "the last message of a source is done twice", Edits: []planted.Edit{
		{File: "cursor.go", Old: "seq <= c.Origins[origin]", New: "seq < c.Origins[origin]"},
	}},
	{Rule: "a repeat takes the mark of its source back", Edits: []planted.Edit{
		{File: "cursor.go", Old: "max(c.Origins[origin], seq)", New: "seq"},
	}},
	{Rule: "no bound to an instance's share", Edits: []planted.Edit{
		{File: "assign.go", Old: "load[id] > base || load[id] == base && more == 0", New: "load[id] > base+partitions"},
	}},
	{Rule: "nothing moves between two that live", Edits: []planted.Edit{
		{File: "assign.go", Old: "(settled || mine.leaving)", New: "mine.leaving"},
	}},
}

// TestPlanted shows that the simulation can fail. In its short form it sees that
// all bugs still have a place in the source. AGNER_PLANTED=1 plants each of them.
func TestPlanted(t *testing.T) {
	t.Parallel()
	for _, bug := range pureBugs {
		bug.Check(t)
		if os.Getenv("AGNER_PLANTED") == "" {
			continue
		}
		t.Run(bug.Rule, func(t *testing.T) {
			t.Parallel()
			binary := bug.Build(t, "test", "-c", "-vet=off", ".")
			run := exec.CommandContext(t.Context(), binary, "-test.run=^TestSimulation$", "-test.timeout=60s")
			run.Env = append(os.Environ(), "AGNER_SIMULATION_STEPS=200000", "AGNER_SIMULATION_SEED=1")
			out, err := run.CombinedOutput()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
				t.Errorf("not caught: %v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}
