package supervise

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	// ErrStop is returned by a child's Run to say that it has finished. It is a
	// normal end, like nil: a [Permanent] child is restarted all the same.
	ErrStop = errors.New("supervise: finished")
	// ErrRunning is returned by [Supervisor.Run] while another Run is going on.
	ErrRunning = errors.New("supervise: already running")
	// ErrNotRunning is returned by calls that need a running supervisor, and by
	// those that were waiting when it began to stop.
	ErrNotRunning = errors.New("supervise: not running")
	// ErrExists is returned by [Supervisor.Start] if the name is taken, be it
	// by an abandoned run.
	ErrExists = errors.New("supervise: child exists")
	// ErrUnknown is returned by calls that name a child that is not there.
	ErrUnknown = errors.New("supervise: no such child")
	// ErrStopped is returned by calls that wait for a child to start when the
	// child is stopped or removed meanwhile.
	ErrStopped = errors.New("supervise: child was stopped")
	// ErrGoexit is the failure of a run that called runtime.Goexit.
	ErrGoexit = errors.New("supervise: run ended by runtime.Goexit")
	// ErrNotReady is the failure of a run that was not ready in time.
	ErrNotReady = errors.New("supervise: not ready within StartTimeout")
	// ErrStuck matches every [StuckError] with errors.Is.
	ErrStuck = errors.New("supervise: child did not stop")
)

// A PanicError is the failure of a run that panicked.
type PanicError struct {
	Value any    // what was given to panic
	Stack string // of the goroutine that panicked
}

// Error gives the panic's value without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the panic's value if it is an error.
func (e *PanicError) Unwrap() error {
	err, ok := e.Value.(error)
	if !ok {
		return nil
	}
	return err
}

// A ChildError says which child failed, and how.
type ChildError struct {
	Path string
	Err  error
}

// Error names the child and its failure.
func (e *ChildError) Error() string { return "supervise " + e.Path + ": " + e.Err.Error() }

// Unwrap returns the child's failure.
func (e *ChildError) Unwrap() error { return e.Err }

// An IntensityError is returned by [Supervisor.Run] when more restarts were
// needed within the period than [Config.MaxRestarts] allows. All children
// have been stopped; Unclean says which of them badly.
type IntensityError struct {
	Path        string        // of the supervisor
	Child       string        // name of the child that ended last
	Err         error         // how it ended; nil if normally
	Restarts    int           // counted in the window, the refused one included
	MaxRestarts int           // allowed
	Period      time.Duration // length of the window
	Unclean     *ShutdownError
}

// Error names the supervisor, the child and its last failure.
func (e *IntensityError) Error() string {
	last := "ended normally"
	if e.Err != nil {
		last = e.Err.Error()
	}
	msg := fmt.Sprintf("supervise %s: gave up: %d restarts within %v, %d allowed; last: child %s: %s",
		e.Path, e.Restarts, e.Period, e.MaxRestarts, e.Child, last)
	if e.Unclean != nil {
		msg += "; then " + e.Unclean.Error()
	}
	return msg
}

// Unwrap returns the last failure and what went wrong while stopping.
func (e *IntensityError) Unwrap() []error {
	var errs []error
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	if e.Unclean != nil {
		errs = append(errs, e.Unclean)
	}
	return errs
}

// A StuckError names a child that did not stop, with what its goroutines were
// doing then. They are found by their profiler labels, which a goroutine gets
// from the one that starts it; those of a child that resets them are missed.
type StuckError struct {
	Path       string        // of the child
	Waited     time.Duration // from the cancellation of its context
	Goroutines int           // that the run had started and that were still there
	Stacks     string        // of those, as in a goroutine profile with debug=1
}

// Error names the child, not the stacks.
func (e *StuckError) Error() string {
	return fmt.Sprintf("supervise %s: did not stop within %v, abandoned with %d goroutines", e.Path, e.Waited, e.Goroutines)
}

// Is reports whether target is [ErrStuck].
func (e *StuckError) Is(target error) bool { return target == ErrStuck }

// A ShutdownError is returned by [Supervisor.Run] when it stopped, but not all
// children did so cleanly. Children of supervisors below are included.
type ShutdownError struct {
	Path   string        // of the supervisor
	GaveUp *StuckError   // why it stopped by itself, see [StuckEscalate]; nil if it did not
	Stuck  []*StuckError // abandoned, still running
	Failed []*ChildError // stopped with an error
}

// Error names every child concerned.
func (e *ShutdownError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "supervise %s: ", e.Path)
	if e.GaveUp != nil {
		b.WriteString("gave up because of a stuck child")
	} else {
		b.WriteString("shutdown was not clean")
	}
	for _, err := range e.Unwrap() {
		b.WriteString("; ")
		b.WriteString(strings.TrimPrefix(err.Error(), "supervise "))
	}
	return b.String()
}

// Unwrap returns the errors of all children concerned, each once.
func (e *ShutdownError) Unwrap() []error {
	errs := make([]error, 0, 1+len(e.Stuck)+len(e.Failed))
	if e.GaveUp != nil {
		errs = append(errs, e.GaveUp)
	}
	for _, err := range e.Stuck {
		if err != e.GaveUp {
			errs = append(errs, err)
		}
	}
	for _, err := range e.Failed {
		errs = append(errs, err)
	}
	return errs
}
