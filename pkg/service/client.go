package service

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/presence"
	"github.com/agner-go/agner/internal/subject"
)

// ClientConfig configures a Client. Its zero value is right for most.
type ClientConfig struct {
	// Namespace is that of the services called. Default: none.
	Namespace string

	// Timeout bounds calls whose context has no deadline. Default 5 s.
	Timeout time.Duration

	// Attempts is how often, at most, one call is made: again after an instance
	// refused it, which ran nothing, and with [Retry] also when no answer came.
	// Default 3; 1 turns retries off.
	Attempts int

	// RetryRatio bounds retries to this part of the calls to a service, so that
	// a service that refuses is not loaded more for it. What is not used is
	// saved, up to a hundred retries; a new client has ten. Beyond them a call
	// fails with the error of its last attempt. Above 0 to 1; default 0.1.
	RetryRatio float64

	// Interceptors wrap every call and cast. The first is the outermost.
	Interceptors []Interceptor
}

// Client makes calls, see [Call], [Gather] and [Cast]. It is safe for concurrent use. It
// subscribes at the first call, once, and until then costs nothing.
type Client struct {
	nc      *nats.Conn
	ns      subject.Namespace
	timeout time.Duration
	mux     mux
	bucket  atomic.Pointer[presence.Bucket] // of the instances, once somebody asked
	// Retries: how often one call is made, what each call earns, what is left.
	attemptsMax int
	ratio       int64
	budgets     budgets
	// invoke is the chain of interceptors around send; nil without any.
	invoke Invoker
}

// NewClient checks the configuration and starts nothing.
func NewClient(nc *nats.Conn, cfg ClientConfig) (*Client, error) {
	if nc == nil {
		return nil, fmt.Errorf("service: new client: connection is nil: %w", ErrConfig)
	}
	ns := subject.Namespace(cfg.Namespace)
	if err := ns.Check(); err != nil {
		return nil, fmt.Errorf("service: new client: %w", err)
	}
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("service: new client: Timeout must not be negative: %w", ErrConfig)
	}
	ratio := orElse(cfg.RetryRatio, DefaultRetryRatio)
	if cfg.Attempts < 0 || !(ratio > 0 && ratio <= 1) {
		return nil, fmt.Errorf("service: new client: Attempts must not be negative, RetryRatio must be above 0 and at most 1: %w", ErrConfig)
	}
	c := &Client{
		nc: nc, ns: ns, timeout: orElse(cfg.Timeout, DefaultCallTimeout),
		attemptsMax: orElse(cfg.Attempts, DefaultAttempts), ratio: int64(ratio * budgetUnit),
	}
	c.mux.nc = nc
	if len(cfg.Interceptors) > 0 {
		c.invoke = chain(cfg.Interceptors, c.send)
	}
	return c, nil
}

// Close waits for the calls that are under way, until ctx ends, and for what
// was cast to reach the server. Calls made after it, and those that still wait
// when ctx ends, fail with [ErrClosed].
func (c *Client) Close(ctx context.Context) error {
	err := c.mux.close(ctx)
	if !c.nc.IsConnected() {
		return err
	}
	return errors.Join(err, flush(ctx, c.nc))
}
