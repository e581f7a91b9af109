package publish

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
)

// Defaults of Config, and the bounds of its fields.
const (
	DefaultContentType = "application/json"
	DefaultMaxInFlight = 4096
	DefaultAckTimeout  = 5 * time.Second
	DefaultRetryFor    = 30 * time.Second

	// MaxWindow bounds Config.MaxInFlight: a slot's number has 16 bits in a
	// reply subject.
	MaxWindow = 1 << 16

	// MaxRetryFor is how long after its first sending an event may be sent
	// again, if that may have stored it: below the stream's dedup window, so
	// that the server still knows the id, by a margin for what is under way.
	MaxRetryFor = stream.DedupWindow - 10*time.Second
)

// Config configures a Publisher. Only Source is required.
type Config struct {
	// Source is the source attribute of events that do not bring their own: a
	// URI-reference such as "/shop/checkout".
	Source string

	// Namespace sets subjects and streams of one environment apart from those
	// of another in the same account: [a-z0-9-]+. Empty means none.
	Namespace string

	// Codecs turn payloads into bytes. Nil knows JSON and raw bytes.
	Codecs *envelope.Codecs

	// ContentType is the media type of payloads, which chooses the codec.
	// Default DefaultContentType.
	ContentType string

	// Provision says whether the streams SCHEDULED, EVENTS and DEAD are made
	// where they are missing, at first use and after a publish that found no
	// stream. Nil means true. With false the
	// publisher asks the server nothing and only publishes, which needs no
	// permission but that; it then relies on a stream with a dedup window of
	// two minutes.
	Provision *bool

	// Replicas of streams that are made. 0 means 3 on a cluster that has them,
	// else 1.
	Replicas int

	// Durability of streams that are made. Default ProcessSafe.
	Durability Durability

	// MaxInFlight is the window: how many events may be unacknowledged at one
	// time, those included that wait for another of their key. It bounds the
	// memory that the Publisher holds. Default DefaultMaxInFlight, at most
	// MaxWindow.
	MaxInFlight int

	// AckTimeout is how long one attempt waits for its acknowledgement before
	// the event is sent again. Default DefaultAckTimeout.
	AckTimeout time.Duration

	// RetryFor bounds a whole publish whose context has no deadline. Default
	// DefaultRetryFor, at most MaxRetryFor. That, or less on a stream with a
	// shorter dedup window, also bounds the time from the first sending that
	// may have stored the event to the last, however far a context's deadline.
	RetryFor time.Duration

	// Logger receives what is worth a look but no error of a single publish.
	// Nil means slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Codecs == nil {
		c.Codecs = envelope.NewCodecs()
	}
	if c.ContentType == "" {
		c.ContentType = DefaultContentType
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = DefaultMaxInFlight
	}
	if c.AckTimeout == 0 {
		c.AckTimeout = DefaultAckTimeout
	}
	if c.RetryFor == 0 {
		c.RetryFor = DefaultRetryFor
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c *Config) check() error {
	var errs []error
	probe := envelope.Attributes{ID: "0", Source: c.Source, Type: "t", DataContentType: c.ContentType}
	if err := probe.Validate(); err != nil {
		errs = append(errs, err)
	}
	if err := subject.Namespace(c.Namespace).Check(); err != nil {
		errs = append(errs, err)
	}
	if c.MaxInFlight < 1 || c.MaxInFlight > MaxWindow {
		errs = append(errs, fmt.Errorf("MaxInFlight is %d: use 1 to %d", c.MaxInFlight, MaxWindow))
	}
	if c.Replicas < 0 || c.Replicas > 5 {
		errs = append(errs, fmt.Errorf("replicas is %d: use 1 to 5, or 0 for the default", c.Replicas))
	}
	if err := c.Durability.Check(c.Replicas); err != nil {
		errs = append(errs, err)
	}
	if c.AckTimeout <= 0 {
		errs = append(errs, fmt.Errorf("AckTimeout is %v: use a positive duration", c.AckTimeout))
	}
	if c.RetryFor <= 0 || c.RetryFor > MaxRetryFor {
		errs = append(errs, fmt.Errorf("RetryFor is %v: use more than 0 and at most %v, the time in which the server still knows an id", c.RetryFor, MaxRetryFor))
	}
	return errors.Join(errs...)
}
