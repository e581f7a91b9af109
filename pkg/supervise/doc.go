// Package supervise runs a tree of children. It starts them in order, restarts
// those that fail within a budget, stops them in reverse order each under its
// own timeout, and names what will not stop. It is OTP's supervisor in Go, and
// where it differs from that the table below says why. It depends on the
// standard library only and knows nothing of messaging.
//
// A child is anything with a method Run(ctx) error, a [Runner]; a [Supervisor]
// is one, so supervisors nest. [New] checks a tree, [Supervisor.Run] is its
// only life: it blocks, ends with its context, and may be called again.
//
// # What it guarantees
//
//   - Order. A child starts when all before it are up: a [ReadyRunner] when it
//     says so, a supervisor when its own children are, any other at once. A
//     child's context is cancelled when all after it have ended or have been
//     abandoned, and not before. It is not cancelled by the end of Run's own
//     context, of which it has the values only.
//   - Restart. Which ends lead to a restart is the child's class: [Permanent],
//     [Transient], [Temporary]. Which children are restarted together is the
//     supervisor's [Strategy]. A normal end is nil, [ErrStop], or a context
//     error while the child's own context was cancelled. Any other error is
//     abnormal, a stray context.DeadlineExceeded too, and so are a panic
//     ([PanicError], with its stack) and runtime.Goexit ([ErrGoexit]). A panic
//     in a goroutine that the child starts cannot be caught in Go: it ends the
//     process.
//   - Budget. More than [Config.MaxRestarts] restarts within [Config.Period],
//     and the supervisor stops its children and returns an [IntensityError] to
//     whoever runs it: the supervisor above, for which it is a failed child, or
//     at the root the program, which exits non-zero and is restarted by its
//     platform. Below the budget, each child has its own [Backoff].
//   - Outages. Children that fail while the [Gate] is closed wait for it, and
//     use no budget.
//   - Nothing is doubled. A goroutine cannot be killed. A run that outlives its
//     [Child.Shutdown] is abandoned: reported as a [StuckError] with its path in
//     the tree and the stacks of all goroutines that it started, counted, and
//     shown by [Supervisor.Status] until it ends. Until then no new run of that
//     child is started, not even in another Run of the supervisor, unless its
//     [OnStuck] allows that.
//   - Nothing hangs. [Supervisor.Start], [Supervisor.Stop], [Supervisor.Restart]
//     and [Supervisor.Remove] may be called at any time and from anywhere, by a
//     child of the supervisor itself too; they end with their context and with
//     the supervisor. Status always answers.
//   - Nothing leaks. When Run has returned, the only goroutines left are those
//     of abandoned children, which its error names, and of children with
//     [NoWait].
//
// It does not restart a process, talk to another one, or keep what children
// know: a child that starts again starts from nothing but its Runner.
//
// # Shutdown, step by step
//
//  1. Run's context ends, or the supervisor gives up. From now on calls return
//     [ErrNotRunning], and nothing is restarted.
//  2. The last child that runs has its context cancelled.
//  3. It ends; or its timeout ends, then it is abandoned. If it is a supervisor
//     it does the same with its children first, and by default has no timeout
//     of its own, since each of those has one.
//  4. Steps 2 and 3 for the child before it, up to the first. With
//     [SimpleOneForOne] all children are cancelled in step 2 at once.
//  5. Run waits for the delivery of its last event, and returns.
//
// # Compared
//
// With OTP's supervisor (OTP 27), suture v4.0.6 and oversight v2. "Same" means:
// as in OTP.
//
//	                    OTP                        suture                     oversight                  here, and why it differs from OTP
//	restart classes     permanent, transient,      all restarted, except      same                       same
//	                    temporary                  ErrDoNotRestart
//	normal end          normal, shutdown,          ErrDoNotRestart, own       nil                        nil, ErrStop, own context's error: errors are
//	                    {shutdown, _}              context's error                                       Go's exit reasons
//	default class       permanent                  restarted                  permanent                  same
//	strategies          all four                   one-for-one                all four                   same
//	counting            a list of restarts in the  a number that halves       a list of restarts         same, but to the nanosecond where OTP counts
//	                    window, both ends          every 30 s; above 5 the                               whole seconds
//	                    included                   supervisor pauses
//	default budget      1 in 5 s                   5, decaying                1 in 5 s                   5 in 60 s: with a backoff, as here, 1 in 5 s
//	                                                                                                     would give up at the second failure
//	budget exhausted    stops all, exits with      pauses all restarts for    stops all, returns an      stops all, Run returns an IntensityError
//	                    reason shutdown            15 s or more, resumes      error
//	a transient         is not restarted: shutdown (never gives up)           cannot run again           is restarted: a part of the program that
//	supervisor that     is normal                                                                        vanishes without a trace helps nobody. Who
//	gave up                                                                                              wants that says Temporary
//	backoff             none: a start that fails   none below the threshold,  none                       for each child, exponential, with jitter:
//	                    again burns the budget in  then the whole supervisor                             a dependency that is away for a second must
//	                    milliseconds                                                                     not end the program
//	outage of a shared  counts                     counts                     counts                     the Gate: parked, not counted
//	dependency
//	start               init returns, then the     all at once                all behind one barrier     the next when this one is ready
//	                    next
//	first start fails   start_link fails           (is a failure)             (is a failure)             a failure that counts: there is nobody to
//	                                                                                                     return to before Run ends, and the budget
//	                                                                                                     bounds it. Start, which has a caller, does
//	                                                                                                     as OTP: error, not added, not counted
//	group restart       reverse stop, ordered      no groups                  reverse stop, start        same. All that had ended normally come back
//	                    start; one restart in the                             behind one barrier         with the group, temporary ones do not; what a
//	                    window                                                                           call has stopped stays stopped, unlike in
//	                                                                                                     OTP: an operator's word stands
//	shutdown            reverse order, each its    all contexts at the same   each its timeout, but all  same; and not while the supervisor waits for
//	                    timeout                    instant, one timeout       contexts derive from the   a slow one can others not be restarted
//	                                                                          root, which ends first
//	a child that does   is killed                  an event, a report that    is detached, a log line    abandoned and reported, see above: Go cannot
//	not stop                                       does not recurse                                      kill
//	started beside it   cannot be                  forgotten: by the next     yes, by the next restart   no, unless OnStuck says so
//	                                               Serve or Add
//	brutal_kill         kills                      no                         no                         NoWait: cancels, goes on, reports after 5 s
//	dynamic children    start, terminate, delete,  Add, Remove                Add, Terminate, Delete     Start, Stop, Restart, Remove; Restart also
//	                    restart                                                                          of a running child
//	after a restart of  the initial children only  none: stopping forgets     cannot run again           same: who adds them keeps the list
//	the supervisor                                 them
//	simple_one_for_one  one template; stopped in   no                         stops asynchronously       any children, or Config.Template; stopped in
//	                    parallel, one timer                                                              parallel, each its own timer
//	auto-shutdown       never, any, all            no                         when no child is left      same
//	                    significant
//	a child calls its   deadlock in init, else     deadlock while stopping    blocks if not running      returns; nobody waits for himself
//	own supervisor      works                      (#41)
//	Run twice           (a process)                panics                     undefined                  ErrRunning
//	panic               a reason with a stack      stack kept                 stack lost                 PanicError with its stack
//	Goexit              (none)                     like nil, restarted        not noticed                ErrGoexit, a failure
//	introspection       which_children             Services                   Children                   Status: the whole tree, as a value
//	events              logger reports             EventHook                  a logger                   OnEvent for the whole tree, and slog
package supervise
