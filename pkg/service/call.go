package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// Call calls an endpoint, "billing.quote", and returns its result. One
// instance of the service answers; which one is not defined without
// [ToInstance] or [ToSame].
//
// The time is bounded by ctx's deadline, or by the client's Timeout without
// one, and what is left of it travels with the call: an instance drops a
// request whose time is up. When ctx ends first, the handler's context is
// cancelled too. While the connection is being restored the call waits.
//
// What an instance refused, so that nothing ran, is tried again within the
// client's budget (see [ClientConfig]); what may have run is not, without
// [Retry].
//
// The error is an *[Error] whatever happened; see [CodeOf] and [IsRemote]. If
// nobody serves the endpoint it has [CodeUnavailable], at once.
func Call[Res any](ctx context.Context, cl *Client, target string, req any, opts ...CallOption) (Res, error) {
	var res Res
	data, err := cl.do(ctx, target, req, kindCall, opts)
	if err != nil {
		return res, err
	}
	return decodeResult[Res](target, data)
}

// Cast sends a request and returns once it is handed to the connection; no
// reply is expected, and whether a handler ran is not known. It goes to one
// instance, to the one of [ToInstance], or to each with [ToAll]. It fails if the
// connection is not restored within the time that [Call] would have. The
// handler is bounded by its own timeout, not by ctx.
func Cast(ctx context.Context, cl *Client, target string, req any, opts ...CallOption) error {
	_, err := cl.do(ctx, target, req, kindCast, opts)
	return err
}

func decodeResult[Res any](target string, data []byte) (res Res, err error) {
	if len(data) == 0 { // not from Agner, which sends at least null
		return res, nil
	}
	if err := json.Unmarshal(data, &res); err != nil {
		return res, failed(target, CodeInternal, fmt.Errorf("decode result: %w", err))
	}
	return res, nil
}

// do makes a request and sends it.
func (c *Client) do(ctx context.Context, target string, req any, k kind, opts []CallOption) ([]byte, error) {
	r, err := newRequest(target, req, k, opts)
	if err != nil {
		return nil, err
	}
	if c.invoke == nil {
		return c.send(ctx, &r)
	}
	return c.intercepted(ctx, r)
}

// newRequest addresses and encodes.
func newRequest(target string, req any, k kind, opts []CallOption) (Request, error) {
	r := Request{Cast: k == kindCast}
	if err := r.address(target, k, opts); err != nil {
		return r, failed(target, CodeInvalidArgument, err)
	}
	data, err := json.Marshal(req)
	if err != nil {
		return r, failed(target, CodeInvalidArgument, fmt.Errorf("encode request: %w", err))
	}
	r.Data = data
	return r, nil
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

// target is the form in which calls name it.
func (r *Request) target() string { return r.Service + "." + r.Endpoint }
