package testserver_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/agner-go/agner/internal/testserver"
)

func TestSmallDisk(t *testing.T) {
	t.Parallel()
	d, err := testserver.SmallDisk(t, 1<<20)
	if err != nil {
		t.Logf("NOT TESTED on this machine: %v", err)
		return
	}
	file := filepath.Join(d.Dir, "f")
	two := make([]byte, 2<<20)
	if err := os.WriteFile(file, two, 0o600); err == nil {
		t.Fatal("a disk of 1 MiB took 2 MiB")
	}
	d.Grow(t, 4<<20)
	if err := os.WriteFile(file, two, 0o600); err != nil {
		t.Error(err)
	}
}
