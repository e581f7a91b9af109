package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

// failed is an error that this process concluded.
func failed(target string, code Code, err error) *Error {
	return &Error{Code: code, Message: err.Error(), Target: target, origin: byClient, err: err}
}

// sendCode classifies what the connection says of a request that it did not
// take.
func sendCode(err error) Code {
	switch {
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrReconnectBufExceeded):
		return CodeResourceExhausted
	case errors.Is(err, ErrClosed):
		return CodeCanceled
	}
	return CodeUnavailable
}

// send is the innermost step on the calling side.
func (c *Client) send(ctx context.Context, r *Request) ([]byte, error) {
	deadline, bounded := ctx.Deadline()
	if !bounded {
		deadline = time.Now().Add(c.timeout)
	}
	left := time.Until(deadline)
	if ctx.Err() != nil || left <= 0 {
		code, err := endOf(ctx)
		return nil, failed(r.target(), code, fmt.Errorf("not sent: %w", err))
	}
	if !c.nc.IsConnected() {
		if err := c.reconnected(ctx, left); err != nil {
			return nil, failed(r.target(), CodeUnavailable, err)
		}
	}
	switch {
	case r.Cast:
		return nil, c.cast(ctx, r)
	case r.gather != nil:
		return nil, r.gather.begin(ctx, r, deadline, bounded)
	}
	return c.attempts(ctx, r, deadline, bounded)
}

// endOf says how the time of a call ended; a ctx that goes on stands for the
// client's own timeout.
func endOf(ctx context.Context) (Code, error) {
	err, cause := ctx.Err(), context.Cause(ctx)
	switch {
	case err == nil:
		return CodeDeadlineExceeded, context.DeadlineExceeded
	case !errors.Is(cause, err):
		return CodeOf(err), fmt.Errorf("%w: %w", err, cause)
	}
	return CodeOf(err), cause
}

// reconnected waits, for at most d, until the connection is there. nats.go
// would keep the request in its buffer and send it later, when the time that
// it claims to have is no longer true.
func (c *Client) reconnected(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	status := c.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer c.nc.RemoveStatusListener(status)
	for !c.nc.IsConnected() {
		if c.nc.IsClosed() {
			return nats.ErrConnectionClosed
		}
		select {
		case <-status:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", nats.ErrDisconnected, context.Cause(ctx))
		}
	}
	return nil
}

// subject is where a request goes.
func (c *Client) subject(r *Request) string {
	a := address{ns: c.ns, service: r.Service}
	if r.Instance == "" {
		return a.any(r.Endpoint)
	}
	return a.instance(r.Endpoint, r.Instance)
}

func (c *Client) cast(ctx context.Context, r *Request) error {
	m := nats.Msg{Subject: c.subject(r), Data: r.Data, Header: withCause(ctx, r.Header)}
	if err := c.nc.PublishMsg(&m); err != nil {
		return failed(r.target(), sendCode(err), err)
	}
	return nil
}

// call sends and waits for the reply.
func (c *Client) call(ctx context.Context, r *Request, left time.Duration, bounded bool) ([]byte, error) {
	s, nonce, inbox, err := c.mux.open(left, 0)
	if err != nil {
		return nil, failed(r.target(), sendCode(err), err)
	}
	defer c.mux.release(s)
	request := sending{slot: s, nonce: nonce, subject: c.subject(r), inbox: inbox, header: withCause(ctx, r.Header), data: r.Data}
	if err := c.mux.send(request); err != nil {
		c.mux.giveUp(s, nonce)
		return nil, failed(r.target(), sendCode(err), err)
	}
	var expired <-chan time.Time
	if !bounded { // else ctx has a timer of its own
		expired = s.expire(left)
		defer s.timer.Stop()
	}
	select {
	case m := <-s.arrived:
		if m == nil {
			return nil, c.lost(r, s)
		}
		return c.result(r, m)
	case <-ctx.Done():
	case <-expired:
	}
	if m := c.mux.giveUp(s, nonce); m != nil {
		return c.result(r, m)
	}
	return nil, c.abandon(ctx, r, inbox)
}

// abandon tells the service that nobody waits any more, after a deadline too:
// an instance that was paused does not know how late it is.
func (c *Client) abandon(ctx context.Context, r *Request, inbox string) error {
	code, err := endOf(ctx)
	if last := c.nc.LastError(); errors.Is(last, nats.ErrPermissionViolation) && code == CodeDeadlineExceeded {
		err = fmt.Errorf("%w (the connection's last error: %w)", err, last)
	}
	if e := c.cancel(r, inbox); e != nil {
		err = fmt.Errorf("%w (and the cancel was not sent: %w)", err, e)
	}
	return failed(r.target(), code, fmt.Errorf("no reply: %w", err))
}

// cancel ends the request at whoever runs it. Without a connection nobody can
// be told.
func (c *Client) cancel(r *Request, inbox string) error {
	if !c.nc.IsConnected() {
		return nil
	}
	return c.nc.Publish(c.subject(&Request{Service: r.Service, Endpoint: cancelToken}), []byte(inbox))
}

// lost is the error of a call whose wait ended without a reply: it was not
// sent, or none can come any more.
func (c *Client) lost(r *Request, s *slot) error {
	switch {
	case errors.Is(s.err, errTooMany):
		return failed(r.target(), CodeResourceExhausted, s.err)
	case s.err != nil:
		return failed(r.target(), sendCode(s.err), s.err)
	case c.nc.IsClosed():
		return failed(r.target(), CodeCanceled, fmt.Errorf("no reply: %w", nats.ErrConnectionClosed))
	}
	return failed(r.target(), CodeCanceled, fmt.Errorf("no reply: %w", ErrClosed))
}

// result reads a reply.
func (c *Client) result(r *Request, m *nats.Msg) ([]byte, error) {
	if len(m.Header) == 0 {
		return m.Data, nil
	}
	if len(m.Data) == 0 && header(m.Header, headerStatus) == statusNoResponders {
		return nil, failed(r.target(), CodeUnavailable, fmt.Errorf("nobody serves it: %w", nats.ErrNoResponders))
	}
	name, number := header(m.Header, HeaderErrorCode), header(m.Header, headerServiceErrorCode)
	text := header(m.Header, headerServiceError)
	if name == "" && number == "" && text == "" {
		r.answeredBy(header(m.Header, HeaderInstance))
		return m.Data, nil
	}
	e := &Error{Code: codeOnWire(name, number), Message: text, Target: r.target(), origin: byRemote}
	var body errorBody
	if name != "" && json.Unmarshal(m.Data, &body) == nil {
		e.Message, e.ID, e.Instance = body.Message, body.ID, body.Instance
	}
	if e.Code != CodeUnavailable {
		r.answeredBy(e.Instance)
	}
	return nil, e
}

// answeredBy remembers the instance, if the caller wants that.
func (r *Request) answeredBy(instance string) {
	if r.same != nil {
		r.same.remember(r.Service, instance)
	}
}

// expire fires after d; the timer is made once for each slot.
func (s *slot) expire(d time.Duration) <-chan time.Time {
	if s.timer == nil {
		s.timer = time.NewTimer(d)
	} else {
		s.timer.Reset(d)
	}
	return s.timer.C
}

// withCause adds what ctx says of the chain that leads to this call; without
// it, h is returned as it is.
func withCause(ctx context.Context, h nats.Header) nats.Header {
	correlation, causation := envelope.Cause(ctx)
	if causation == "" {
		return h
	}
	if h == nil {
		h = nats.Header{}
	}
	h[HeaderCausation] = []string{causation}
	if correlation != "" {
		h[HeaderCorrelation] = []string{correlation}
	}
	return h
}
