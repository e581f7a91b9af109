//go:build unix && !linux

package testserver

import (
	"os"
	"os/exec"
	"syscall"
)

// dieWithParent leaves it to the child to see its standard input close.
func dieWithParent(*exec.Cmd) {}

func pauseProcess(p *os.Process) error  { return p.Signal(syscall.SIGSTOP) }
func resumeProcess(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
