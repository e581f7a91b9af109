package testserver

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// Disk is a file system of a few megabytes, to be filled.
type Disk struct {
	// Dir is where it is mounted.
	Dir string
}

// SmallDisk mounts a file system of so many bytes in memory until the test
// ends. It needs the right to mount; an error says that this machine does not
// give it, and the caller says what it then has not tested.
func SmallDisk(tb testing.TB, size int) (*Disk, error) {
	tb.Helper()
	d := &Disk{Dir: tb.TempDir()}
	if err := unix.Mount("none", d.Dir, "tmpfs", 0, sizeOption(size)); err != nil {
		return nil, fmt.Errorf("testserver: mount a file system of %d bytes: %w", size, err)
	}
	tb.Cleanup(func() {
		if err := unix.Unmount(d.Dir, unix.MNT_DETACH); err != nil {
			tb.Errorf("testserver: unmount %s: %v", d.Dir, err)
		}
	})
	return d, nil
}

// Grow makes the file system larger; what is on it stays.
func (d *Disk) Grow(tb testing.TB, size int) {
	tb.Helper()
	if err := unix.Mount("none", d.Dir, "tmpfs", unix.MS_REMOUNT, sizeOption(size)); err != nil {
		tb.Fatalf("testserver: grow %s: %v", d.Dir, err)
	}
}

func sizeOption(size int) string { return fmt.Sprintf("size=%d", size) }
