package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns both ends of a pseudo-terminal.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	fd := int(person.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]bool{"y\n": true, "YES\n": true, "n\n": false, "\n": false, "\x04": false} {
		person, program := terminal(t)
		a := &app{stdin: program, stderr: program}
		if _, err := io.WriteString(person, answer); err != nil {
			t.Fatal(err)
		}
		if got, err := a.confirm(t.Context(), false, "Reset billing?"); err != nil || got != want {
			t.Errorf("%q: %v, %v", answer, got, err)
		}
		// The terminal shows the answer too, at times in a read of its own.
		var shown strings.Builder
		for !strings.Contains(shown.String(), "Reset billing? [y/N]") {
			part := make([]byte, 256)
			n, err := person.Read(part)
			if err != nil {
				t.Fatalf("%q: shown %q, %v", answer, shown.String(), err)
			}
			shown.Write(part[:n])
		}
	}
	a := &app{stdin: strings.NewReader("y\n"), stderr: &bytes.Buffer{}}
	if _, err := a.confirm(t.Context(), false, "?"); exitCode(err) != exitUsage {
		t.Errorf("without a terminal: %v", err)
	}
	if ok, err := a.confirm(t.Context(), true, "?"); !ok || err != nil {
		t.Errorf("--yes: %v, %v", ok, err)
	}
	person, program := terminal(t)
	a = &app{stdin: program, stderr: program}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if ok, err := a.confirm(ended, false, "?"); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v, %v", ok, err)
	}
	if _, err := io.WriteString(person, "n\n"); err != nil { // for the reader that is left
		t.Fatal(err)
	}
}
