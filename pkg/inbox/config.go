package inbox

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/agner-go/agner/internal/presence"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

// Defaults of Config.
const (
	DefaultPartitions     = 64
	DefaultMaxState       = 256 << 10
	DefaultCachedEntities = 10_000
	DefaultHandlerTimeout = time.Minute
	DefaultMaxAttempts    = 10
	DefaultFirstDelay     = 100 * time.Millisecond
	DefaultMaxDelay       = 30 * time.Second
	DefaultDrainTimeout   = 25 * time.Second
	DefaultLeaseTTL       = presence.DefaultTTL
	DefaultSettle         = 300 * time.Millisecond

	// MaxPartitions bounds Config.Partitions: each is a consumer, a cursor and
	// a place in a commit.
	MaxPartitions = 900
)

// Config of an Inbox. Only Name is required.
type Config struct {
	// Name names the inbox: all instances with this name share its entities.
	// a-z, 0-9 and '-'.
	Name string

	// Namespace sets subjects and streams of one environment apart from those
	// of another in the same account. Default: none.
	Namespace string

	// Instance names this process in leases and cursors. It must be another one
	// for each process. Default: random.
	Instance string

	// Partitions is the unit of ownership: more instances than partitions are
	// idle. It is fixed when the inbox is made, and must be the same in all
	// programs. Default 64, at most MaxPartitions.
	Partitions int

	// Source is the CloudEvents source of what handlers publish and send. Default
	// "/inbox/<name>".
	Source string

	// Codec turns states into bytes. It is given pointers to the state type.
	// Default: JSON.
	Codec envelope.Codec

	// StateVersion is the version of the state's layout that this program
	// writes. A stored state of an earlier one goes through Upgrade first; one of
	// a later version is an error (ErrStateVersion). Default 0.
	StateVersion int
	// Upgrade turns the bytes of a state of an earlier version into those of
	// StateVersion. It must not change data.
	Upgrade func(version int, data []byte) ([]byte, error)

	// MaxState bounds the bytes of one entity's state: a handler that makes it
	// larger fails with ErrStateTooLarge. Default 256 KiB.
	MaxState int

	// CachedEntities is how many entities this process keeps in memory. Others
	// are read when a message for them comes. Twice as many may wait for a
	// commit besides, or 2,000 if that is more. Default 10,000.
	CachedEntities int

	// Codecs decode the data of messages, and encode those of outputs. Default:
	// JSON and raw bytes.
	Codecs *envelope.Codecs

	// HandlerTimeout is the deadline of one run of a handler. One that is still
	// running when twice as long has passed loses its partition to another
	// instance. Default 1 min.
	HandlerTimeout time.Duration

	// MaxAttempts is how often a message is run before it becomes a dead letter.
	// Until then it holds up its partition. Default 10.
	MaxAttempts int

	// FirstDelay and MaxDelay bound the wait between attempts: it doubles from
	// the first, jittered over its upper half. Defaults 100 ms and 30 s.
	FirstDelay, MaxDelay time.Duration

	// DrainTimeout bounds the stop. Default 25 s, below the 30 s that platforms
	// usually grant.
	DrainTimeout time.Duration

	// LeaseTTL is after how long without a sign of life the partitions of an
	// instance go to others, in whole seconds. Default 3 s. It must be the same
	// in all instances.
	LeaseTTL time.Duration

	// Settle is how long the set of instances must stand still before
	// partitions move between two that live. Default 300 ms.
	Settle time.Duration

	// Provision set to new(false) makes nothing: streams and buckets must be
	// there. Default: what is missing is made; what is there is never changed,
	// but for the sources of the mailbox.
	Provision *bool

	// Replicas of new streams. Default 3 on a cluster that has them, else 1.
	Replicas int

	// Durability of new streams. Default ProcessSafe.
	Durability publish.Durability

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
	orInt(&c.Partitions, DefaultPartitions)
	orInt(&c.MaxState, DefaultMaxState)
	orInt(&c.CachedEntities, DefaultCachedEntities)
	orInt(&c.MaxAttempts, DefaultMaxAttempts)
	orDuration(&c.HandlerTimeout, DefaultHandlerTimeout)
	orDuration(&c.FirstDelay, DefaultFirstDelay)
	orDuration(&c.MaxDelay, max(DefaultMaxDelay, c.FirstDelay))
	orDuration(&c.DrainTimeout, DefaultDrainTimeout)
	orDuration(&c.LeaseTTL, DefaultLeaseTTL)
	orDuration(&c.Settle, DefaultSettle)
	if c.Source == "" {
		c.Source = "/inbox/" + c.Name
	}
	if c.Codec == nil {
		c.Codec = envelope.JSON{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c Config) check() error {
	if err := subject.CheckName("inbox", c.Name); err != nil {
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
	source := envelope.Attributes{ID: "1", Source: c.Source, Type: "t"}
	if err := source.Validate(); err != nil {
		return fmt.Errorf("field Source: %w: %w", ErrConfig, err)
	}
	if err := c.Durability.Check(c.Replicas); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		ok   bool
		want string
	}{
		{"Partitions", c.Partitions > 0 && c.Partitions <= MaxPartitions, fmt.Sprintf("1 to %d", MaxPartitions)},
		{"MaxState", c.MaxState > 0, "more than 0"},
		{"CachedEntities", c.CachedEntities > 0, "more than 0"},
		{"StateVersion", c.StateVersion >= 0, "0 or more"},
		{"MaxAttempts", c.MaxAttempts > 0, "at least 1"},
		{"HandlerTimeout", c.HandlerTimeout > 0, "more than 0"},
		{"FirstDelay", c.FirstDelay > 0, "more than 0"},
		{"MaxDelay", c.MaxDelay >= c.FirstDelay, "at least FirstDelay"},
		{"DrainTimeout", c.DrainTimeout > 0, "more than 0"},
		{"LeaseTTL", c.LeaseTTL >= time.Second && c.LeaseTTL%time.Second == 0, "whole seconds, at least 1"},
		{"Settle", c.Settle > 0, "more than 0"},
		{"Replicas", c.Replicas >= 0, "0 to 5"},
	} {
		if !f.ok {
			return fmt.Errorf("%s must be %s: %w", f.name, f.want, ErrConfig)
		}
	}
	return nil
}

func (c Config) provision() bool { return c.Provision == nil || *c.Provision }
