package chaos_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/chaos"
	"github.com/agner-go/agner/internal/planted"
)

// unsafe are bugs in what makes the inbox exact. Those in its pure parts are
// planted beside the simulation, in pkg/inbox.
var unsafe = []planted.Bug{
	{Rule: "fence off: a commit does not compare the cursor", Edits: []planted.Edit{{
		File: "../../pkg/inbox/work.go",
		Old:  "nats.Header{headerExpected: {strconv.FormatUint(r.seq, 10)}, headerRollup: e.values.rollup}",
		New:  "nats.Header{headerRollup: e.values.rollup}",
	}}},
	{Rule: "a refused commit counts as stored, whatever the cursor says", Edits: []planted.Edit{{
		File: "../../pkg/inbox/cursor.go",
		Old:  "	return c.Owner == d.Owner && c.Epoch == d.Epoch && c.Position == d.Position\n",
		New:  "	return c.Epoch > 0 || d.Epoch > 0\n",
	}}},
	{Rule: "outputs are relayed without a marker", Edits: []planted.Edit{{
		File: "../../pkg/inbox/relay.go",
		Old:  "		Header:  nats.Header{headerExpected: {strconv.FormatUint(expected, 10)}},\n",
		New:  "		Header:  nats.Header{\"Agner-Expected\": {strconv.FormatUint(expected, 10)}},\n",
	}}},
	{Rule: "states are stored beside the batch", Edits: []planted.Edit{
		{
			File: "../../pkg/inbox/work.go",
			Old:  "		into = append(into, e.stateMessage(ent, w.data[i]))\n",
			New:  "		_ = e.in.nc.PublishMsg(e.stateMessage(ent, w.data[i]))\n",
		},
		{
			File: "../../pkg/inbox/work.go",
			Old:  "return 1 + len(w.states) + len(w.outs)",
			New:  "return 1 + len(w.outs)",
		},
		{
			File: "../../pkg/inbox/commit.go",
			Old:  "first + 1 + uint64(len(s.w.states))",
			New:  "first + 1",
		},
	}},
	{Rule: "a partition is released before its work is committed", Edits: []planted.Edit{
		{
			File: "../../pkg/inbox/run.go",
			Old:  "	if r.ended != nil || r.release || now < r.late && (r.flying || !r.pending.empty() || !r.e.relay.clear(r)) {\n",
			New:  "	if r.ended != nil || r.release {\n",
		},
		{
			File: "../../pkg/inbox/run.go",
			Old:  "	r.release = true\n",
			New:  "	r.release, r.pending = true, work{}\n",
		},
	}},
}

// TestPlanted shows that the machine can fail. In its short form it sees that all
// bugs still have a place in the source. AGNER_PLANTED=1 plants each of them and
// gives the machine a minute to find it.
//
//nolint:tparallel // one bug after the other: each run is for two cores
func TestPlanted(t *testing.T) {
	t.Parallel()
	for _, bug := range unsafe {
		bug.Check(t)
		if os.Getenv("AGNER_PLANTED") == "" {
			continue
		}
		t.Run(bug.Rule, func(t *testing.T) {
			machine := bug.Build(t, "build", "./run")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			run := exec.CommandContext(ctx, machine, "inbox", "-messages", "40000", "-keys", "400", "-faults", "24",
				"-gap", "500ms", "-lease", "1s", "-seed", "1", "-dir", t.TempDir())
			run.Cancel = func() error { return run.Process.Signal(os.Interrupt) }
			run.WaitDelay = 10 * time.Second
			out, err := run.Output()
			text := strings.TrimSpace(string(out))
			var r chaos.Result
			if jsonErr := json.Unmarshal([]byte(text[strings.LastIndexByte(text, '\n')+1:]), &r); jsonErr != nil {
				t.Fatalf("the machine has no result: %v, %v\n%s", err, jsonErr, text)
			}
			if exit := (*exec.ExitError)(nil); r.OK() || !errors.As(err, &exit) {
				t.Errorf("not caught: %v\n%s", err, text)
			}
			t.Logf("wrong %d, reordered %d, lost %d, doubled %d", r.Wrong, r.Reordered, r.Lost, r.Doubled)
		})
	}
}
