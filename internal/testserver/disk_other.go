//go:build !linux

package testserver

import (
	"errors"
	"testing"
)

// Disk is a file system of a few megabytes, to be filled.
type Disk struct {
	// Dir is where it is mounted.
	Dir string
}

// SmallDisk says that this system cannot mount one.
func SmallDisk(testing.TB, int) (*Disk, error) { return nil, errors.ErrUnsupported }

// Grow is never called here.
func (*Disk) Grow(tb testing.TB, _ int) { tb.Fatal("testserver: no disk") }
