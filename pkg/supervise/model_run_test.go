package supervise_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/agner-go/agner/pkg/supervise"
)

// real finds the real supervisor at a path; those below the root are reached
// through the specifications they were built from.
func (st *stage) real(path string) *supervise.Supervisor {
	if path == st.sup.Status().Path {
		return st.sup
	}
	return st.subs[path]
}

func (st *stage) toggleGate() string {
	w := st.model
	w.gateOpen = !w.gateOpen
	if w.gateOpen {
		for _, m := range w.trees {
			m.gateOpened()
		}
	}
	st.gate.SetOpen(w.gateOpen)
	return fmt.Sprint("gate open: ", w.gateOpen)
}

// turn begins a shutdown, or another Run after one.
func (st *stage) turn(b int) string {
	m := st.model.root
	switch {
	case !m.running:
		st.run()
		return "run"
	case b%4 == 0:
		st.cancel()
		m.stopAll("")
		return "shutdown"
	default:
		return ""
	}
}

func (st *stage) run() {
	ctx, cancel := context.WithCancel(context.Background())
	st.cancel, st.result = cancel, make(chan error, 1)
	result := st.result
	go func() { result <- st.sup.Run(ctx) }()
	st.model.root.begin()
	st.model.settle()
	synctest.Wait()
}

// check compares everything that can be seen.
func (st *stage) check() error {
	var diffs []string
	got := st.sup.Status()
	compare(&diffs, st.model.root, &got)
	st.mu.Lock()
	if st.doubles != "" {
		diffs = append(diffs, st.doubles)
	}
	_, sups := st.model.root.all()
	for _, m := range sups {
		if !slices.Equal(m.log, st.log[m.path]) {
			diffs = append(diffs, fmt.Sprintf("order in %s: got %q, want %q", m.path, tail(st.log[m.path]), tail(m.log)))
		}
	}
	for _, c := range st.calls {
		if !c.returned && c.answered() {
			diffs = append(diffs, c.what+" has not returned")
		}
	}
	st.mu.Unlock()
	if m := st.model.root; m.end != nil {
		if err := st.checkEnd(m); err != nil {
			diffs = append(diffs, err.Error())
		}
		m.end = nil
	}
	if len(diffs) > 0 {
		return errors.New(strings.Join(diffs, "\n"))
	}
	return nil
}

func tail(s []string) []string { return s[max(0, len(s)-6):] }

func compare(diffs *[]string, m *mSup, status *supervise.Status) {
	differ := func(what string, got, want any) {
		if got != want {
			*diffs = append(*diffs, fmt.Sprintf("%s: %s is %v, want %v", m.path, what, got, want))
		}
	}
	if m.above == nil {
		differ("state", status.State, m.state())
	}
	differ("restarts used", status.Supervisor.RestartsUsed, m.used())
	if !m.ran {
		return
	}
	differ("number of children", len(status.Children), len(m.kids))
	for i := range min(len(status.Children), len(m.kids)) {
		c, k := &status.Children[i], m.kids[i]
		differ("child", c.Path, k.path)
		differ("state of "+k.path, c.State, k.state())
		differ("starts of "+k.path, int(c.Starts), k.starts)
		differ("abandoned runs of "+k.path, len(c.Abandoned), k.abandoned())
		if !k.due.IsZero() && (c.NextRestart == nil || !c.NextRestart.Equal(k.due)) {
			differ("next restart of "+k.path, c.NextRestart, k.due)
		}
		if k.tree != nil && len(*diffs) == 0 {
			compare(diffs, k.tree, c)
		}
	}
}

func (st *stage) checkEnd(m *mSup) error {
	var err error
	select {
	case err = <-st.result:
	default:
		return errors.New("Run has not returned")
	}
	var gaveUp *supervise.IntensityError
	var unclean *supervise.ShutdownError
	stuck, failed := 0, 0
	switch e := err.(type) { //nolint:errorlint // those inside are of supervisors below
	case *supervise.IntensityError:
		gaveUp, unclean = e, e.Unclean
	case *supervise.ShutdownError:
		unclean = e
	}
	if unclean != nil {
		stuck, failed = len(unclean.Stuck), len(unclean.Failed)
	}
	switch m.cause {
	case "":
		if (err == nil) != m.end.ok {
			return fmt.Errorf("Run returned %v, want nil: %v", err, m.end.ok) //nolint:errorlint // may be nil
		}
	case "intensity":
		if gaveUp == nil || gaveUp.Path != m.path {
			return fmt.Errorf("Run returned %w, want an IntensityError of %s", err, m.path)
		}
	case "stuck":
		if unclean == nil || unclean.GaveUp == nil {
			return fmt.Errorf("Run returned %w, want it to name a stuck child", err)
		}
	}
	if stuck != m.end.stuck || failed != m.end.failed {
		return fmt.Errorf("Run names %d stuck and %d failed, want %d and %d: %w", stuck, failed, m.end.stuck, m.end.failed, err)
	}
	return nil
}

// close shuts everything down, lets hanging runs go and sees that nothing is
// left: if a goroutine is, synctest panics.
func (st *stage) close() error {
	if st.model.root.running {
		st.cancel()
		st.model.root.stopAll("")
		st.model.settle()
		synctest.Wait()
	}
	for range 100 {
		st.pass(7 * time.Second)
		st.model.settle()
		synctest.Wait()
		if err := st.check(); err != nil {
			return err
		}
		r := st.model.anyRun()
		if r == nil {
			st.waiting.Wait()
			return nil
		}
		st.end(r, 8)
		st.model.settle()
		synctest.Wait()
	}
	return errors.New("runs without an end")
}

// anyRun returns a run that goes on, also one below a child that was removed.
func (w *mWorld) anyRun() *mRun {
	for _, m := range w.trees {
		for _, k := range m.kids {
			if runs := k.runs(); k.tree == nil && len(runs) > 0 {
				return runs[0]
			}
		}
	}
	return nil
}

// play runs one plan in a bubble of fake time.
func play(t *testing.T, cfg mConfig, steps []step) (err error) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		var st *stage
		if st, err = newStage(cfg); err != nil {
			return
		}
		st.run()
		var story []string
		for _, s := range steps {
			if err = st.check(); err != nil {
				break
			}
			if what := st.do(s); what != "" {
				story = append(story, what)
			}
		}
		if err == nil {
			err = st.close()
		}
		if err != nil {
			err = fmt.Errorf("%w\nafter:\n  %s", err, strings.Join(story, "\n  "))
			st.abort()
		}
	})
	return err
}

// abort ends a play that went wrong, so that the bubble can be left.
func (st *stage) abort() {
	st.cancel()
	st.gate.SetOpen(true)
	for range 200 {
		st.mu.Lock()
		var runs []*actor
		for _, r := range st.runs {
			runs = append(runs, r...)
		}
		st.mu.Unlock()
		for _, a := range runs {
			select {
			case a.finish <- func() error { return nil }:
			case <-time.After(time.Second):
			}
		}
		<-time.After(time.Minute)
	}
}

func TestModel(t *testing.T) {
	steps, seed := setting(t, "AGNER_MODEL_STEPS", 12_000), setting(t, "AGNER_MODEL_SEED", int(time.Now().UnixNano()))
	t.Logf("AGNER_MODEL_STEPS=%d AGNER_MODEL_SEED=%d", steps, seed)
	const perPlay = 80
	for name, value := range map[string]string{
		"rapid.checks": strconv.Itoa(max(1, steps/perPlay)), "rapid.seed": strconv.Itoa(seed), "rapid.nofailfile": "true",
	} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	done := 0
	rapid.Check(t, func(rt *rapid.T) {
		cfg := drawConfig(rt)
		plan := rapid.SliceOfN(rapid.Custom(drawStep), perPlay, perPlay).Draw(rt, "steps")
		done += len(plan)
		if err := play(t, cfg, plan); err != nil {
			rt.Fatalf("%v", err)
		}
	})
	t.Logf("%d steps", done)
}

func setting(t *testing.T, name string, def int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func drawStep(rt *rapid.T) step {
	return step{
		op: rapid.IntRange(0, 31).Draw(rt, "op"),
		a:  rapid.IntRange(0, 63).Draw(rt, "a"),
		b:  rapid.IntRange(0, 1<<16).Draw(rt, "b"),
	}
}
