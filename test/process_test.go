package test_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// compileTime bounds the build of a foreign program on a cold machine.
const compileTime = 5 * time.Minute

// build compiles a program of this module and returns its path.
func build(t *testing.T, pkg string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), filepath.Base(pkg))
	ctx, cancel := context.WithTimeout(t.Context(), compileTime)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, pkg).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return bin
}

// output runs a program to its end and returns what it printed.
func output(t *testing.T, bin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(bin), strings.Join(args, " "), err, out, &stderr)
	}
	return string(out)
}

// process is a program that runs beside the test.
type process struct {
	cmd   *exec.Cmd
	name  string
	stdin io.WriteCloser
	lines *bufio.Scanner
	errs  bytes.Buffer
}

func start(t *testing.T, bin string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	t.Cleanup(cancel)
	p := &process{cmd: exec.CommandContext(ctx, bin, args...), name: filepath.Base(bin) + " " + args[0]}
	p.cmd.Stderr = &p.errs
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// line reads the next line of JSON.
func (p *process) line(t *testing.T, v any) {
	t.Helper()
	if !p.lines.Scan() {
		t.Fatalf("%s has ended: %v, %v\n%s", p.name, p.lines.Err(), p.cmd.Wait(), &p.errs)
	}
	if err := json.Unmarshal(p.lines.Bytes(), v); err != nil {
		t.Fatalf("%s printed %q: %v", p.name, p.lines.Text(), err)
	}
}

// end closes the program's input and waits for it.
func (p *process) end(t *testing.T) {
	t.Helper()
	if err := p.stdin.Close(); err != nil {
		t.Error(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", p.name, err, &p.errs)
	}
}
