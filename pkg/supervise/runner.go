package supervise

import "context"

// A Runner is anything that works until its context ends: a loop, a
// subscription, a server, or another [Supervisor].
//
// Run blocks. It returns nil or [ErrStop] when its work is done, the context's
// error (or nil) once ctx has ended, and any other error when it failed. After
// it has returned it may be called again, which is how a supervisor restarts
// it; it is never called twice at the same time unless the child's
// specification says [StuckDouble].
//
// A package does not have to import this one to be supervised: a Run method
// with this signature is enough.
type Runner interface {
	Run(ctx context.Context) error
}

// A ReadyRunner is a [Runner] that tells when it is up. If a child's Runner
// has this method it is called in place of Run, and the next child starts
// only once ready has been called. A run that ends before that has failed to
// start.
//
// ready may be called from any goroutine and more than once; calls after the
// first, or after the run has ended, do nothing. A new run gets a new ready.
type ReadyRunner interface {
	Runner
	RunReady(ctx context.Context, ready func()) error
}

// RunnerFunc makes a [Runner] of a function.
type RunnerFunc func(ctx context.Context) error

// Run calls f.
func (f RunnerFunc) Run(ctx context.Context) error { return f(ctx) }

// ReadyFunc makes a [ReadyRunner] of a function.
type ReadyFunc func(ctx context.Context, ready func()) error

// Run calls f with a ready that nobody waits for.
func (f ReadyFunc) Run(ctx context.Context) error { return f(ctx, func() {}) }

// RunReady calls f.
func (f ReadyFunc) RunReady(ctx context.Context, ready func()) error { return f(ctx, ready) }

// A Tree is a [Runner] with children of its own, such as a [Supervisor] or a
// type that embeds one. The supervisor above shows its children in
// [Supervisor.Status] and by default waits without limit for it to start and
// to stop, because each of its own children has a limit.
type Tree interface {
	Runner
	Status() Status
}
