package consume

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/supervise"
)

// Defaults of Config.
const (
	DefaultConcurrency    = 16
	DefaultMaxAttempts    = 10
	DefaultFirstDelay     = time.Second
	DefaultMaxDelay       = 5 * time.Minute
	DefaultAckWait        = 30 * time.Second
	DefaultHandlerTimeout = time.Minute
	DefaultDrainTimeout   = 25 * time.Second
	DefaultMaxBuffer      = 32 << 20
)

// Config of a Consumer. The zero value of each field but Group is right for
// most services.
type Config struct {
	// Group names the consumer group: all instances with this name share the
	// events. Required; a-z, 0-9 and '-'.
	Group string

	// Namespace sets the subjects and streams of one environment apart from
	// those of another in the same account. Default: none.
	Namespace string

	// Instance names this process in dead letters and logs. Default: random.
	Instance string

	// Concurrency is how many handlers of one subscription run at once in
	// this process. Default 16.
	Concurrency int

	// MaxAttempts is how often an event is run before it becomes a dead
	// letter. Default 10; 1 means no retries.
	MaxAttempts int

	// FirstDelay and MaxDelay bound the wait between attempts: it doubles from
	// the first, jittered over its upper half. Defaults 1 s and 5 min. The
	// server's timer makes each at least 250 ms.
	FirstDelay, MaxDelay time.Duration

	// AckWait is how long the server waits for a sign of life before it gives
	// an event to another instance. While the process lives the deadline is
	// extended every third of it, so it bounds the hand-over after a crash, not
	// the length of a handler. Default 30 s, at least 1 s. It is fixed in the
	// durable when that is made; a durable that exists keeps its
	// own, until natsctl apply changes it for a greater Generation.
	AckWait time.Duration

	// HandlerTimeout bounds one attempt: its context's deadline. Default 1 min.
	HandlerTimeout time.Duration

	// KillSwitch pauses a subscription whose handler keeps failing. Default off.
	KillSwitch KillSwitch

	// MaxHung is how many handlers of one subscription may ignore their
	// deadlines at one time, each replaced by another worker, before the
	// subscription fails and is restarted by its supervisor. Default: the
	// subscription's concurrency.
	MaxHung int

	// Supervision says how often subscriptions are restarted, how fast, and
	// which of them together, before Run gives up: intensity, period, backoff,
	// strategy, event hook. Name, Gate, Template and Logger are filled in. The
	// zero value is supervise's: each on its own, five restarts in a minute.
	Supervision supervise.Config

	// DrainTimeout bounds the stop, see the package's documentation. Default
	// 25 s, below the 30 s that platforms usually grant.
	DrainTimeout time.Duration

	// MaxBuffer bounds the bytes of events received and not yet begun, for
	// each subscription. Default 32 MiB.
	MaxBuffer int

	// Start says where new durables begin. Default: the oldest event retained.
	Start Start

	// Middleware wraps every handler, outside of its subscription's own.
	Middleware []Middleware

	// Codecs decode data. Default: JSON and raw bytes.
	Codecs *envelope.Codecs

	// Redact is called with each dead letter before it is stored in DEAD, to take
	// out what must not stand there for its 30 days, error text and stack
	// included. The event itself stays in EVENTS, and in the retry lane, as it
	// was published: a redacted letter is replayed from EVENTS while the event
	// stands there, and can only be discarded afterwards. It may be called again
	// for a letter that could not be stored, by several goroutines at once, and
	// must not block. If it panics, the letter is stored without the event's
	// key, headers and body. Default: letters are stored as the event stands.
	Redact func(*Letter)

	// Provision set to new(false) makes nothing: streams and durables must be
	// there. Default: what is missing is made; what is there is never changed.
	Provision *bool

	// Generation numbers this configuration of the group's durables. It is
	// recorded in their metadata, and natsctl apply changes a durable that
	// exists only for a greater one, never back: raise it together with
	// AckWait. Run itself changes none. Default 0.
	Generation uint64

	// Replicas of new streams. Default 3 on a cluster that has them, else 1.
	Replicas int

	// Durability of new streams, and of the bucket of positions. Default
	// publish.ProcessSafe.
	Durability publish.Durability

	// OnNotice is called when an event is given up, a durable was made again,
	// delivery is paused or goes on, or events were lost. It must not block; it
	// may be called from several goroutines at once.
	OnNotice func(Notice)

	// Logger gets what an operator should know. Default slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orDuration := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	orInt(&c.Concurrency, DefaultConcurrency)
	orInt(&c.MaxAttempts, DefaultMaxAttempts)
	orInt(&c.MaxBuffer, DefaultMaxBuffer)
	orDuration(&c.FirstDelay, DefaultFirstDelay)
	orDuration(&c.MaxDelay, max(DefaultMaxDelay, c.FirstDelay))
	orDuration(&c.AckWait, DefaultAckWait)
	orDuration(&c.HandlerTimeout, DefaultHandlerTimeout)
	orDuration(&c.DrainTimeout, DefaultDrainTimeout)
	c.KillSwitch = c.KillSwitch.withDefaults()
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c Config) check() error {
	if err := subject.CheckName("group", c.Group); err != nil {
		return err
	}
	if err := subject.Namespace(c.Namespace).Check(); err != nil {
		return err
	}
	if c.Instance != "" {
		if err := subject.CheckName("instance", c.Instance); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		name string
		ok   bool
		want string
	}{
		{"Concurrency", c.Concurrency > 0, "at least 1"},
		{"MaxAttempts", c.MaxAttempts > 0, "at least 1"},
		{"FirstDelay", c.FirstDelay > 0, "more than 0"},
		{"MaxDelay", c.MaxDelay >= c.FirstDelay, "at least FirstDelay"},
		{"AckWait", c.AckWait >= time.Second, "at least 1s"},
		{"HandlerTimeout", c.HandlerTimeout > 0, "more than 0"},
		{"DrainTimeout", c.DrainTimeout > 0, "more than 0"},
		{"MaxBuffer", c.MaxBuffer > 0, "more than 0"},
		{"MaxHung", c.MaxHung >= 0, "0 or more"},
		{"Replicas", c.Replicas >= 0, "0 to 5"},
	} {
		if !f.ok {
			return fmt.Errorf("%s must be %s: %w", f.name, f.want, ErrConfig)
		}
	}
	if err := c.Durability.Check(c.Replicas); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if _, err := supervise.New(c.Supervision); err != nil {
		return fmt.Errorf("field Supervision: %w: %w", ErrConfig, err)
	}
	return c.KillSwitch.check()
}

func (c Config) provision() bool { return c.Provision == nil || *c.Provision }
