package service

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// Defaults of an endpoint.
const (
	DefaultConcurrency    = 64
	DefaultQueue          = 256
	DefaultHandlerTimeout = time.Minute
)

// endpoint is one thing that a service answers. It lives as long as the
// service; what belongs to one Run is in its pool.
type endpoint struct {
	name        string
	handle      func(*inflight) ([]byte, error)
	invoke      Invoker // the handler alone, for interceptors
	concurrency int
	queue       int
	timeout     time.Duration
	metadata    map[string]string
	idempotent  bool
	stats       stats
}

// EndpointOption changes one endpoint.
type EndpointOption func(*endpoint)

// WithConcurrency is how many requests of the endpoint run at once in one
// instance. Default 64.
func WithConcurrency(n int) EndpointOption { return func(e *endpoint) { e.concurrency = n } }

// WithQueue is how many requests wait while all places are taken; beyond
// them a caller gets [CodeUnavailable] at once. Default 256; 0 means none wait.
func WithQueue(n int) EndpointOption { return func(e *endpoint) { e.queue = n } }

// WithHandlerTimeout bounds one run of the handler, whatever time the caller
// grants. Default 1 minute.
func WithHandlerTimeout(d time.Duration) EndpointOption { return func(e *endpoint) { e.timeout = d } }

// WithMetadata is shown by `nats service info` for the endpoint.
func WithMetadata(m map[string]string) EndpointOption {
	return func(e *endpoint) { e.metadata = maps.Clone(m) }
}

// WithIdempotent declares that running a request twice does what running it
// once does, so that callers may use [Retry]. It is shown by `nats service
// info`, and kept: an endpoint without it refuses a request that may have run
// before.
func WithIdempotent() EndpointOption { return func(e *endpoint) { e.idempotent = true } }

// metaIdempotent is how discovery shows it.
const metaIdempotent = "agner.idempotent"

// newEndpoint types the core: h is called with the decoded request, its result
// is encoded. An empty body is the zero request.
func newEndpoint[Req, Res any](name string, h func(context.Context, Req) (Res, error), opts []EndpointOption) *endpoint {
	e := &endpoint{
		name:        name,
		concurrency: DefaultConcurrency,
		queue:       DefaultQueue,
		timeout:     DefaultHandlerTimeout,
	}
	for _, o := range opts {
		o(e)
	}
	if h == nil {
		return e
	}
	e.handle = func(x *inflight) ([]byte, error) { return serveJSON(x, x.data, h) }
	e.invoke = func(ctx context.Context, r *Request) ([]byte, error) { return serveJSON(ctx, r.Data, h) }
	return e
}

func serveJSON[Req, Res any](ctx context.Context, data []byte, h func(context.Context, Req) (Res, error)) ([]byte, error) {
	var req Req
	if len(data) > 0 {
		if err := json.Unmarshal(data, &req); err != nil {
			return nil, Errorf(CodeInvalidArgument, "decode request: %w", err)
		}
	}
	res, err := h(ctx, req)
	if err != nil {
		return nil, err
	}
	data, err = json.Marshal(res)
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	return data, nil
}

// intercept puts interceptors around the handler. Without any, no [Request] is
// made.
func (e *endpoint) intercept(id identity, interceptors []Interceptor) {
	if len(interceptors) == 0 {
		return
	}
	invoke := chain(interceptors, e.invoke)
	e.handle = func(x *inflight) ([]byte, error) {
		return invoke(x, &Request{
			Service: id.Name, Endpoint: e.name, Instance: id.Instance,
			Cast: x.reply == "", Header: x.header, Data: x.data,
		})
	}
}

func (e *endpoint) check() error {
	if err := checkToken("endpoint", e.name); err != nil {
		return err
	}
	for _, f := range []struct {
		ok   bool
		want string
	}{
		{e.handle != nil, "the handler is nil"},
		{e.concurrency > 0, "WithConcurrency must be at least 1"},
		{e.queue >= 0, "WithQueue must not be negative"},
		{e.timeout > 0, "WithHandlerTimeout must be more than 0"},
	} {
		if !f.ok {
			return fmt.Errorf("endpoint %q: %s: %w", e.name, f.want, ErrConfig)
		}
	}
	return nil
}
