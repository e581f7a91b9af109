package testserver_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
)

// programVariable tells this test binary to be the program of the test below: it
// writes into the file that the variable names that it began and that it ended.
const programVariable = "AGNER_TESTSERVER_PROGRAM"

func runProgramIfAsked() {
	path, asked := os.LookupEnv(programVariable)
	if !asked {
		return
	}
	err := testserver.RunProgram(func(ctx context.Context, ready func() error) error {
		if err := note(path, "began "); err != nil {
			return err
		}
		if err := ready(); err != nil {
			return err
		}
		<-ctx.Done()
		return note(path, "ended ")
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func note(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Close()
}

func TestProgramIsKilledStoppedAndStartedAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notes")
	p := testserver.NewProgram(t, "the program", programVariable+"="+path)
	p.Kill() // of one that is down it is nothing
	p.Start(t)
	if !p.Running() {
		t.Error("does not run after Start")
	}
	p.Kill()
	p.Start(t)
	p.Pause()
	p.Resume()
	p.Stop()
	if p.Running() {
		t.Error("runs after Stop")
	}
	p.Start(t)
	p.Pause()
	exited := p.Exited()
	p.Kill() // a paused one can be killed too
	select {
	case <-exited:
	case <-time.After(10 * time.Second):
		t.Error("Kill has returned, and the program is not over")
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "began began ended began "; string(got) != want {
		t.Errorf("it noted %q, want %q", got, want)
	}
}
