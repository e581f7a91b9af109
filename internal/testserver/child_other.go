//go:build !unix

package testserver

import (
	"errors"
	"os"
	"os/exec"
)

// dieWithParent leaves it to the child to see its standard input close.
func dieWithParent(*exec.Cmd) {}

func pauseProcess(*os.Process) error  { return errors.ErrUnsupported }
func resumeProcess(*os.Process) error { return errors.ErrUnsupported }
