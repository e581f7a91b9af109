package service

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
)

// maxWaiting is how many replies of one gathering may wait for its consumer,
// where [Replies] does not say how many are wanted.
const maxWaiting = 4096

// errTooMany ends a gathering whose consumer does not keep up.
var errTooMany = errors.New("too many replies wait, and no more are kept")

// Reply is what one instance answered to a [Gather].
type Reply[Res any] struct {
	// Instance is the one that answered; empty if it does not say who it is.
	Instance string
	// Result is the zero value beside an error.
	Result Res
}

// Gather calls an endpoint of all instances at once and iterates over their
// replies as they come. Each use of the iterator sends a request of its own.
//
// It ends with the time of the call, which is that of [Call], or once as many
// have replied as [Replies] says. How many instances there are is not known to
// it: [Replies], or a context with a short deadline, keeps it from waiting.
//
// An instance that fails is one pair of the iteration, with its error and its
// name, and the others go on. An error that belongs to none, with an empty
// Instance, is the last pair: nobody serves the endpoint ([CodeUnavailable], at
// once), fewer than [Replies] came in time, or none at all
// ([CodeDeadlineExceeded]), ctx was cancelled, the client was closed
// ([CodeCanceled]). All errors are *[Error]. No request is sent twice.
//
// When the iteration ends, for whatever reason, the handlers that still run are
// cancelled.
func Gather[Res any](ctx context.Context, cl *Client, target string, req any, opts ...CallOption) iter.Seq2[Reply[Res], error] {
	return func(yield func(Reply[Res], error) bool) {
		cl.gather(ctx, target, req, opts, func(instance string, data []byte, err error) bool {
			var res Res
			if err == nil {
				res, err = decodeResult[Res](target, data)
			}
			return yield(Reply[Res]{Instance: instance, Result: res}, err)
		})
	}
}

// gathering is a request to all and what has come of it.
type gathering struct {
	client  *Client
	request *Request
	slot    *slot // nil until it is sent
	nonce   uint64
	inbox   string
	expired <-chan time.Time // nil where ctx has the deadline
	over    bool             // the time is up; what has come is still taken
	count   int
}

// gather is what Gather is without its type. Yield gets an instance's name and
// its result or error.
func (c *Client) gather(ctx context.Context, target string, req any, opts []CallOption, yield func(string, []byte, error) bool) {
	r, err := newRequest(target, req, kindGather, opts)
	if err != nil {
		yield("", nil, err)
		return
	}
	g := &gathering{client: c, request: &r}
	r.gather = g
	defer g.end()
	var data []byte
	if c.invoke != nil {
		data, err = c.intercepted(ctx, r)
	} else {
		_, err = c.send(ctx, &r)
	}
	if err != nil || g.slot == nil { // an interceptor may answer by itself
		yield("", data, err)
		return
	}
	for r.replies == 0 || g.count < r.replies {
		if !g.next(ctx, yield) {
			return
		}
	}
}

// begin sends, as the last step of the client's interceptors.
func (g *gathering) begin(ctx context.Context, r *Request, deadline time.Time, bounded bool) error {
	c, left := g.client, time.Until(deadline)
	if g.slot != nil {
		return failed(r.target(), CodeFailedPrecondition, errors.New("a gathering is sent once"))
	}
	s, nonce, inbox, err := c.mux.open(left, orElse(r.replies, maxWaiting))
	if err != nil {
		return failed(r.target(), sendCode(err), err)
	}
	r.set(HeaderInstance, anyValue)
	sent := *r // a copy, so that the request of a call does not escape
	g.slot, g.nonce, g.inbox, g.request = s, nonce, inbox, &sent
	if !bounded {
		g.expired = s.expire(left)
	}
	request := sending{slot: s, nonce: nonce, subject: c.subject(r), inbox: inbox, header: withCause(ctx, r.Header), data: r.Data}
	if err := c.mux.send(request); err != nil {
		return failed(r.target(), sendCode(err), err)
	}
	return nil
}

// next waits for one reply and yields it. It is false at the end.
func (g *gathering) next(ctx context.Context, yield func(string, []byte, error) bool) bool {
	if g.over {
		select {
		case m := <-g.slot.arrived:
			return g.take(m, yield)
		default:
			return g.tooLate(ctx, yield)
		}
	}
	select {
	case m := <-g.slot.arrived:
		return g.take(m, yield)
	case <-ctx.Done():
	case <-g.expired:
	}
	g.over = true
	g.client.mux.stop(g.slot, g.nonce)
	return true
}

// take yields a reply.
func (g *gathering) take(m *nats.Msg, yield func(string, []byte, error) bool) bool {
	if m == nil {
		yield("", nil, g.client.lost(g.request, g.slot))
		return false
	}
	data, err := g.client.result(g.request, m)
	var e *Error
	switch {
	case err == nil:
		g.count++
		return yield(header(m.Header, HeaderInstance), data, nil)
	case errors.As(err, &e) && e.origin == byRemote:
		g.count++
		return yield(e.Instance, nil, err)
	}
	yield("", nil, err) // nobody there
	return false
}

// tooLate ends the iteration when its time is up.
func (g *gathering) tooLate(ctx context.Context, yield func(string, []byte, error) bool) bool {
	if code, err := endOf(ctx); code != CodeDeadlineExceeded || g.count == 0 || g.count < g.request.replies {
		yield("", nil, failed(g.request.target(), code, fmt.Errorf("%d replies came: %w", g.count, err)))
	}
	return false
}

// end stops listening, and tells the instances that nobody does.
func (g *gathering) end() {
	if g.slot == nil {
		return
	}
	c := g.client
	c.mux.stop(g.slot, g.nonce)
	if g.slot.timer != nil {
		g.slot.timer.Stop()
	}
	c.mux.release(g.slot)
	_ = c.cancel(g.request, g.inbox) // who is not told ends at the deadline
}
