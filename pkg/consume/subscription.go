package consume

import (
	"context"
	"fmt"
	"time"

	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
)

// Subscription is one handler with what it is for. Make one with On,
// OnEvent or OnBatch; it is a value, and nothing starts before Consumer.Run.
type Subscription struct {
	name    string
	pattern string
	bind    func(*envelope.Codecs) HandlerFunc
	err     error

	bindBatch func(*envelope.Codecs) batchHandler // instead of bind
	batchMost int
	batchWait time.Duration

	concurrency    int
	maxAttempts    int
	first, most    time.Duration
	handlerTimeout time.Duration
	rate           float64
	start          *Start
	middleware     []Middleware
}

// Option sets one property of a subscription, over the Config of its Consumer.
type Option func(*Subscription)

// WithName names the subscription; group and name together name the durable.
// Default: the type with '-' for '.'. A pattern, a type with other characters
// than a-z, 0-9, '-' and '.', and a second subscription to one type need a
// name. To rename a subscription is to make a new one.
func WithName(name string) Option { return func(s *Subscription) { s.name = name } }

// WithConcurrency sets how many handlers run at once in this process.
func WithConcurrency(n int) Option { return func(s *Subscription) { s.concurrency = n } }

// WithMaxAttempts sets how often an event is run before it is a dead letter.
func WithMaxAttempts(n int) Option { return func(s *Subscription) { s.maxAttempts = n } }

// WithDelays sets the first and the greatest wait between attempts.
func WithDelays(first, most time.Duration) Option {
	return func(s *Subscription) { s.first, s.most = first, most }
}

// WithRate bounds how many handlers begin each second in this process, see
// Consumer.SetRate.
func WithRate(perSecond float64) Option { return func(s *Subscription) { s.rate = perSecond } }

// WithHandlerTimeout bounds one attempt.
func WithHandlerTimeout(d time.Duration) Option {
	return func(s *Subscription) { s.handlerTimeout = d }
}

// WithStart says where a new durable begins.
func WithStart(st Start) Option { return func(s *Subscription) { s.start = &st } }

// WithMiddleware wraps the handler, inside of the Config's middleware.
func WithMiddleware(m ...Middleware) Option {
	return func(s *Subscription) { s.middleware = append(s.middleware, m...) }
}

// On subscribes a handler to the events of T's type. Data are decoded by the
// codec of their content type; an event whose data T cannot take becomes a dead
// letter without running the handler. T may be a pointer type.
func On[T envelope.Payload](h func(ctx context.Context, e envelope.Event[T]) error, opts ...Option) Subscription {
	typ, err := envelope.TypeOf[T]()
	bind := func(codecs *envelope.Codecs) HandlerFunc {
		return func(ctx context.Context, raw envelope.Raw) error {
			e, err := envelope.DecodeData[T](codecs, &raw)
			if err != nil {
				return &undecodableError{err}
			}
			return h(ctx, e)
		}
	}
	if err == nil && h == nil {
		err = fmt.Errorf("handler is nil: %w", ErrConfig)
	}
	return subscription(Subscription{pattern: typ, bind: bind, err: err}, opts)
}

// OnEvent subscribes a handler to all events whose type matches a pattern:
// "shop.order.placed.v1", "shop.*.placed.v1" ('*' is one part) or "shop.>"
// (all below; ">" alone is every event). Data stay bytes. A pattern with a
// wildcard needs WithName.
func OnEvent(pattern string, h HandlerFunc, opts ...Option) Subscription {
	var err error
	if h == nil {
		err = fmt.Errorf("handler is nil: %w", ErrConfig)
	}
	return subscription(Subscription{
		pattern: pattern,
		bind:    func(*envelope.Codecs) HandlerFunc { return h },
		err:     err,
	}, opts)
}

func subscription(s Subscription, opts []Option) Subscription {
	for _, o := range opts {
		o(&s)
	}
	return s
}

// resolve fills what the subscription leaves open from the configuration and
// validates the whole.
func (s Subscription) resolve(c Config) (Subscription, error) {
	if s.err != nil {
		return s, s.err
	}
	if s.bind == nil && s.bindBatch == nil {
		return s, fmt.Errorf("made without On, OnEvent or OnBatch: %w", ErrConfig)
	}
	if _, err := subject.Namespace(c.Namespace).Filter(s.pattern); err != nil {
		return s, err
	}
	if s.name == "" {
		if subject.IsPattern(s.pattern) {
			return s, fmt.Errorf("pattern %q needs a name: give it WithName: %w", s.pattern, ErrConfig)
		}
		s.name = subject.Subscription(s.pattern)
	}
	if err := subject.CheckName("subscription", s.name); err != nil {
		return s, fmt.Errorf("give it WithName: %w", err)
	}
	// The configuration that holds for this subscription is checked by the
	// same rules as the one given for all.
	if s.concurrency != 0 {
		c.Concurrency = s.concurrency
	}
	if s.maxAttempts != 0 {
		c.MaxAttempts = s.maxAttempts
	}
	if s.first != 0 || s.most != 0 {
		c.FirstDelay, c.MaxDelay = s.first, s.most
	}
	if s.rate < 0 {
		return s, fmt.Errorf("rate of %g is negative: %w", s.rate, ErrConfig)
	}
	if s.handlerTimeout != 0 {
		c.HandlerTimeout = s.handlerTimeout
	}
	if err := c.check(); err != nil {
		return s, err
	}
	s.concurrency, s.maxAttempts = c.Concurrency, c.MaxAttempts
	s.first, s.most, s.handlerTimeout = c.FirstDelay, c.MaxDelay, c.HandlerTimeout
	if s.start == nil {
		s.start = &c.Start
	}
	return s, nil
}
