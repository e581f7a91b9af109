package testserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithParent has the kernel kill the child when the parent dies, even one
// that is stopped by a signal and cannot see its standard input close. Strictly
// it acts on the end of the parent's thread; Go ends threads only with a
// goroutine that locked one.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// pauseProcess returns when every thread of the process stands still.
func pauseProcess(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		err := unix.Waitid(unix.P_PID, p.Pid, nil, unix.WSTOPPED, nil)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait until stopped: %w", err)
		}
	}
}

func resumeProcess(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
