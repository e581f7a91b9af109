package supervise_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/agner-go/agner/internal/planted"
)

// bugs are at least one in each rule. Each replaces one piece of the
// package's source in an overlay, so that the package itself has no hooks for
// it, and the model has to notice.
var bugs = []struct{ rule, file, old, bug string }{
	{
		"order: all are cancelled at once, not each in its turn", "wave.go",
		"		s.tell(c.run)\n		return c.run == nil\n",
		"		s.tell(c.run)\n		w.at = c.seq\n		return true\n",
	},
	{
		"order: stopped from the front", "wave.go",
		"	i := s.index(w.at) - 1\n",
		"	i := s.index(w.at) - 1\n	for j := range max(i, 0) {\n		if s.slots[j].seq >= w.from && s.slots[j].run != nil {\n			i = j\n			break\n		}\n	}\n",
	},
	{
		"order: the next starts before this one is ready", "wave.go",
		"		if c.run.state != runUp {\n			return false\n		}\n", "",
	},
	{
		"counting: one restart too few", "restart.go",
		"len(s.window) <= s.cfg.MaxRestarts {", "len(s.window) < s.cfg.MaxRestarts {",
	},
	{
		"counting: the window does not slide", "restart.go",
		"now.Add(-s.cfg.Period)", "now.Add(-100 * s.cfg.Period)",
	},
	{
		"counting: a group's restart counts for each of its children", "run.go",
		"	c.byCall, c.ran = false, true\n",
		"	if c.starts > 0 && s.grouped() && s.wave != nil && !c.byCall {\n		s.window = append(s.window, time.Now())\n	}\n	c.byCall, c.ran = false, true\n",
	},
	{
		"counting: a stop by a call counts", "run.go",
		"	case c.want == wantUp && s.active:\n		s.kick(c, out.err)\n	default:\n		s.rest",
		"	case c.want == wantUp && s.active && !s.covered(c):\n		s.exited(r, out)\n	case c.want == wantUp && s.active:\n		s.kick(c, out.err)\n	default:\n		s.rest",
	},
	{
		"escalation: gives up without an error", "restart.go",
		"	s.stopAll(&IntensityError{", "	s.stopAll(nil)\n	_ = (&IntensityError{",
	},
	{
		"escalation: a supervisor that gave up is not restarted", "run.go",
		"	if err == nil {\n		return true\n	}\n	var (",
		"	if err == nil || errors.As(err, new(*IntensityError)) {\n		return true\n	}\n	var (",
	},
	{
		"double start: beside an abandoned run", "slot.go",
		"	return len(c.ghosts) == 0, false\n", "	return true, false\n",
	},
	{
		"double start: the timer of an earlier failure still fires", "slot.go",
		"		c.timer.Stop()\n		c.timer = nil\n	}\n	c.turn++\n", "		c.timer = nil\n	}\n",
	},
	{
		"double start: doubles without a bound", "slot.go",
		"return abandoned < c.spec.MaxAbandoned, abandoned >= c.spec.MaxAbandoned", "return true, false",
	},
	{
		"lost shutdown: while an ordered start is under way", "supervisor.go",
		"	if !s.active {\n		return\n	}\n	s.active = false\n",
		"	if !s.active || s.wave != nil && s.wave.phase == waveStart && cause == nil {\n		return\n	}\n	s.active = false\n",
	},
	{
		"lost shutdown: a child that becomes ready is forgotten", "run.go",
		"	if r.state != runStarting {\n		return\n	}\n	s.markReady(r)\n",
		"	s.markReady(r)\n",
	},
	{
		"lost slot: the end of an abandoned run is not noticed", "run.go",
		"		s.freed(c, was)\n", "",
	},
	{
		"lost call: nobody answers who waits for a start", "run.go",
		"	c.resolve(callUp, r.number, nil)\n}\n\n// late", "}\n\n// late",
	},
	{
		"lost call: nobody answers who waits for a stop", "run.go",
		"	if r.state != runAbandoned {\n		c.resolve(callDown, r.number, nil)\n	}\n", "",
	},
	{
		"timeouts: a child is never abandoned", "run.go",
		"	if limit != Infinite {\n		r.timer = time.AfterFunc(limit, func() { s.overdue(r) })\n	}\n", "",
	},
	{
		"classes: transient is restarted after a normal end", "restart.go",
		"c.spec.Restart == Transient && out.ok:", "c.spec.Restart == Transient && out.ok && out.err != nil:",
	},
	{
		"classes: a stray deadline is normal", "run.go",
		"cancelled && (errors.Is", "true && (errors.Is",
	},
	{
		"classes: a panic with a context error is normal", "run.go",
		"	if errors.As(err, &panicked) || ", "	if panicked != nil || ",
	},
	{
		"groups: one-for-all restarts only the rest", "wave.go",
		"	if s.cfg.Strategy == OneForAll {\n		next.from = 0\n	}\n", "",
	},
	{
		"groups: temporary children come back", "wave.go",
		"!w.final && c.spec.Restart == Temporary && c.ran && c.want != wantGone", "false && w.final",
	},
	{
		"backoff: does not grow", "restart.go",
		"	c.failures++\n", "",
	},
	{
		"backoff: never resets", "restart.go",
		"		c.failures = 0\n", "",
	},
	{
		"gate: a failure behind a closed gate counts", "restart.go",
		"	if out.excuse == excuseNone && !s.count", "	if !s.count",
	},
	{
		"gate: what is parked stays so", "gate.go",
		"		if c.parked {\n", "		if false {\n",
	},
	{
		"auto-shutdown: the first of all significant children ends it", "restart.go",
		"o != c && o.spec.Significant && o.want == wantUp", "o != c && false",
	},
}

// TestPlanted shows that the model can fail. In its short form it plants the
// first bug and sees that all others still have a place in the source.
// AGNER_PLANTED=1 plants every one of them, which takes some minutes.
func TestPlanted(t *testing.T) {
	t.Parallel()
	for i, p := range bugs {
		bug := planted.Bug{Rule: p.rule, Edits: []planted.Edit{{File: p.file, Old: p.old, New: p.bug}}}
		bug.Check(t)
		if i > 0 && os.Getenv("AGNER_PLANTED") == "" {
			continue
		}
		t.Run(p.rule, func(t *testing.T) {
			t.Parallel()
			if out, caught := runPlanted(t, bug); !caught {
				t.Errorf("not caught\n%s", out)
			} else if testing.Verbose() {
				t.Log(firstDifference(out))
			}
		})
	}
}

// runPlanted runs the model against the package with a bug in it.
func runPlanted(t *testing.T, bug planted.Bug) (out string, caught bool) {
	t.Helper()
	binary := bug.Build(t, "test", "-c", "-vet=off", ".")
	run := exec.CommandContext(t.Context(), binary, "-test.run=^TestModel$", "-test.timeout=60s", "-rapid.shrinktime=0s")
	run.Env = append(os.Environ(), "AGNER_MODEL_STEPS=100000", "AGNER_MODEL_SEED=1")
	text, err := run.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(text), err != nil
}

func firstDifference(out string) string {
	for line := range strings.Lines(out) {
		for _, sign := range []string{"failed after", "Original traceback", "panic:", "deadlock"} {
			if strings.Contains(line, sign) {
				return strings.TrimSpace(line)
			}
		}
	}
	return "no output"
}
