package supervise

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"
)

// Strategy says which children are restarted together.
type Strategy uint8

const (
	// OneForOne restarts the child that ended and no other. The zero value.
	OneForOne Strategy = iota
	// OneForAll stops all children in reverse order and starts them again.
	OneForAll
	// RestForOne does so with the child that ended and those started after it.
	RestForOne
	// SimpleOneForOne is OneForOne for any number of children that do not
	// depend on each other, such as a pool of workers: they are stopped all at
	// once, each under its own timeout.
	SimpleOneForOne
)

// String returns the strategy in words.
func (s Strategy) String() string {
	switch s {
	case OneForOne:
		return "one-for-one"
	case OneForAll:
		return "one-for-all"
	case RestForOne:
		return "rest-for-one"
	case SimpleOneForOne:
		return "simple-one-for-one"
	default:
		return "Strategy(" + strconv.Itoa(int(s)) + ")"
	}
}

// AutoShutdown says whether a supervisor ends when its significant children
// have ended by themselves: normally if they are [Transient], in any way if
// they are [Temporary].
type AutoShutdown uint8

const (
	// AutoShutdownNever keeps the supervisor running. The zero value.
	AutoShutdownNever AutoShutdown = iota
	// AutoShutdownAny ends it with the first significant child.
	AutoShutdownAny
	// AutoShutdownAll ends it with the last running significant child.
	AutoShutdownAll
)

const (
	defaultName        = "root"
	defaultMaxRestarts = 5
	defaultPeriod      = time.Minute
)

// Config configures a [Supervisor]. The zero value is right for most.
type Config struct {
	// Name is the first part of the path of a root supervisor, "root" by
	// default. Below another supervisor the child's name takes its place.
	Name string
	// Strategy says which children are restarted together.
	Strategy Strategy
	// MaxRestarts is OTP's intensity: more restarts than this within Period
	// and the supervisor stops all children and gives up with an
	// [IntensityError]. One incident counts once, however many children the
	// strategy restarts. Default 5; negative allows none.
	MaxRestarts int
	// Period is the length of the sliding window. Default one minute.
	Period time.Duration
	// Backoff delays restarts, for each child on its own.
	Backoff Backoff
	// AutoShutdown ends the supervisor with its significant children.
	AutoShutdown AutoShutdown
	// Gate is a shared condition without which the children cannot work. Nil
	// means the gate of the supervisor above, if any.
	Gate Gate
	// Template makes a child from the name given to [Supervisor.StartTemplate].
	// It may leave Child.Name empty. It must be safe for concurrent use.
	Template func(name string) (Child, error)
	// Logger gets a record for each transition: starts and ends at Debug, what
	// went wrong at Warn, abandoned children and giving up at Error. Nil means
	// the logger of the supervisor above, at the root slog.Default().
	Logger *slog.Logger
	// OnEvent is called for each transition in this supervisor and in those
	// below it, in order and one at a time, on a goroutine of its own. It may
	// call the supervisor's methods. Run returns after the last event was
	// delivered, so a hook must not wait for Run, and if it blocks, Run does.
	// When more than 32,768 events wait, further ones are dropped and counted.
	OnEvent func(Event)
}

func (c Config) resolve() (Config, error) {
	if c.Name == "" {
		c.Name = defaultName
	}
	if err := checkName(c.Name); err != nil {
		return c, err
	}
	switch {
	case c.Strategy > SimpleOneForOne:
		return c, fmt.Errorf("unknown strategy %v", c.Strategy)
	case c.AutoShutdown > AutoShutdownAll:
		return c, errors.New("unknown AutoShutdown " + strconv.Itoa(int(c.AutoShutdown)))
	case c.Period < 0:
		return c, fmt.Errorf("period %v is negative", c.Period)
	}
	switch {
	case c.MaxRestarts == 0:
		c.MaxRestarts = defaultMaxRestarts
	case c.MaxRestarts < 0:
		c.MaxRestarts = 0
	}
	if c.Period == 0 {
		c.Period = defaultPeriod
	}
	c.Backoff = c.Backoff.over(Backoff{
		Min: defaultBackoffMin, Max: defaultBackoffMax, Factor: defaultBackoffFactor,
		Jitter: defaultBackoffJitter, Reset: c.Period,
	})
	return c, c.Backoff.check()
}
