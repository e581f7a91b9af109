// Package planted plants bugs, to show that a test can fail. A bug replaces pieces
// of source by way of the go command's -overlay, so that the source itself has no
// hooks for it. Only tests use this package; `make planted` runs them all.
package planted

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Bug is what breaks one rule.
type Bug struct {
	Rule  string
	Edits []Edit
}

// Edit replaces a piece of a file, which must stand there once. The path is
// relative to the folder of the test.
type Edit struct{ File, Old, New string }

// Check fails the test if a piece that the bug replaces is not there, or not
// once: the source has changed, and the bug must follow it.
func (b Bug) Check(tb testing.TB) {
	tb.Helper()
	b.apply(tb)
}

// apply returns the changed files by name.
func (b Bug) apply(tb testing.TB) map[string][]byte {
	tb.Helper()
	files := make(map[string][]byte)
	for _, e := range b.Edits {
		source, seen := files[e.File]
		if !seen {
			var err error
			if source, err = os.ReadFile(e.File); err != nil {
				tb.Fatal(err)
			}
		}
		if n := bytes.Count(source, []byte(e.Old)); n != 1 {
			tb.Errorf("planted bug %q: its place is found %d times in %s:\n%s", b.Rule, n, e.File, e.Old)
		}
		files[e.File] = bytes.Replace(source, []byte(e.Old), []byte(e.New), 1)
	}
	return files
}

// Build builds a binary with the bug in it: of the package's tests with "test",
// "-c" and a package, of a program with "build" and a package. It returns its path.
func (b Bug) Build(tb testing.TB, command string, args ...string) string {
	tb.Helper()
	dir := tb.TempDir()
	replace := make(map[string]string)
	for file, source := range b.apply(tb) {
		abs, err := filepath.Abs(file)
		if err != nil {
			tb.Fatal(err)
		}
		replace[abs] = filepath.Join(dir, filepath.Base(file))
		write(tb, replace[abs], source)
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		tb.Fatal(err)
	}
	overlay, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "planted")
	write(tb, overlay, text)
	build := exec.CommandContext(tb.Context(), "go", append([]string{command, "-overlay", overlay, "-o", binary}, args...)...) //nolint:gosec // G204: the go command
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("planted bug %q does not compile: %v\n%s", b.Rule, err, out)
	}
	return binary
}

func write(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}
