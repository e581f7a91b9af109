package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// CallOption changes one call or cast.
type CallOption func(*callOptions)

type callOptions struct {
	instance string
	all      bool
}

// ToInstance addresses exactly one instance, by the id that
// [Service.Instance], discovery or an [Error] gives. If it is gone the call
// fails with [CodeUnavailable] at once.
func ToInstance(id string) CallOption { return func(o *callOptions) { o.instance = id } }

// ToAll casts to each instance; it is not for calls, which have one reply.
func ToAll() CallOption { return func(o *callOptions) { o.all = true } }

// Call calls an endpoint, "billing.quote", and returns its result. One
// instance of the service answers; which one is not defined without
// [ToInstance].
//
// The time is bounded by ctx's deadline, or by the client's Timeout without
// one, and what is left of it travels with the call: an instance drops a
// request whose time is up. When ctx ends first, the handler's context is
// cancelled too. While the connection is being restored the call waits.
//
// The error is an *[Error] whatever happened; see [CodeOf] and [IsRemote]. If
// nobody serves the endpoint it has [CodeUnavailable], at once.
func Call[Res any](ctx context.Context, cl *Client, target string, req any, opts ...CallOption) (Res, error) {
	var res Res
	data, err := cl.do(ctx, target, req, false, opts)
	if err != nil {
		return res, err
	}
	if len(data) == 0 { // not from Agner, which sends at least null
		return res, nil
	}
	if err := json.Unmarshal(data, &res); err != nil {
		return res, failed(target, CodeInternal, fmt.Errorf("decode result: %w", err))
	}
	return res, nil
}

// Cast sends a request and returns once it is handed to the connection; no
// reply is expected, and whether a handler ran is not known. It fails if the
// connection is not restored within the time that [Call] would have. The
// handler is bounded by its own timeout, not by ctx.
func Cast(ctx context.Context, cl *Client, target string, req any, opts ...CallOption) error {
	_, err := cl.do(ctx, target, req, true, opts)
	return err
}

// do encodes, addresses and sends.
func (c *Client) do(ctx context.Context, target string, req any, cast bool, opts []CallOption) ([]byte, error) {
	r := Request{Cast: cast}
	if err := r.address(target, opts); err != nil {
		return nil, failed(target, CodeInvalidArgument, err)
	}
	data, err := json.Marshal(req)
	if err != nil {
		return nil, failed(target, CodeInvalidArgument, fmt.Errorf("encode request: %w", err))
	}
	r.Data = data
	if c.invoke == nil {
		return c.send(ctx, &r)
	}
	return c.intercepted(ctx, r)
}

// intercepted is apart so that other calls do not pay for the escape of r.
func (c *Client) intercepted(ctx context.Context, r Request) ([]byte, error) {
	r.Header = nats.Header{}
	data, err := c.invoke(ctx, &r)
	var e *Error
	if err == nil || errors.As(err, &e) {
		return data, err
	}
	return nil, failed(r.target(), CodeOf(err), err)
}

// address reads the target and the options.
func (r *Request) address(target string, opts []CallOption) (err error) {
	if r.Service, r.Endpoint, err = parseTarget(target); err != nil || len(opts) == 0 {
		return err
	}
	o := options(opts)
	switch {
	case o.all && !r.Cast:
		return fmt.Errorf("ToAll is for casts: %w", ErrTarget)
	case o.all && o.instance != "":
		return fmt.Errorf("ToAll and ToInstance exclude each other: %w", ErrTarget)
	case o.all:
		r.Instance = instanceAll
	case o.instance != "":
		if err := checkToken("instance", o.instance); err != nil {
			return fmt.Errorf("%w: %w", err, ErrTarget)
		}
		r.Instance = o.instance
	}
	return nil
}

// target is the form in which calls name it.
func (r *Request) target() string { return r.Service + "." + r.Endpoint }

// options is apart so that calls without any do not pay for its escape.
func options(opts []CallOption) (o callOptions) {
	for _, opt := range opts {
		opt(&o)
	}
	return o
}
