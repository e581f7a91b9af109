package service

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

var errGoexit = errors.New("handler ended its goroutine (runtime.Goexit)")

// panicError is a handler's panic.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// accept makes a request of a message, or answers it and returns nil if it is
// not to be run at all.
func (s *server) accept(ep *endpoint, m *nats.Msg) *inflight {
	ep.stats.requests.Add(1)
	if m.Reply != "" && !s.guard.allows(m.Reply) {
		s.refuseReply(ep, m)
		return nil
	}
	x := &inflight{
		srv: s, data: m.Data, header: m.Header, reply: m.Reply, values: s.values,
		received: time.Since(s.born),
	}
	timeout := ep.timeout
	granted, err := grantedTime(m)
	if err != nil {
		s.fail(ep, x, Errorf(CodeInvalidArgument, "%w", err))
		return nil
	}
	if granted > 0 {
		timeout = min(timeout, granted)
	}
	x.deadline = x.received + timeout
	if len(m.Header) > 0 {
		if a := header(m.Header, HeaderAttempt); a != "" && a != "1" && !ep.idempotent {
			s.fail(ep, x, Errorf(CodeFailedPrecondition,
				"attempt %.20q was not run: %s is not declared idempotent, and an earlier attempt may have run", a, ep.name))
			return nil
		}
		x.values = contextWithCause(s.values, m.Header)
	}
	return x
}

// contextWithCause continues the chain that the caller names. Ids that no
// event could carry are left out: they would make the handler's own events
// invalid.
func contextWithCause(ctx context.Context, h nats.Header) context.Context {
	chain := envelope.Attributes{
		ID: header(h, HeaderCausation), CorrelationID: header(h, HeaderCorrelation),
		Source: "/", Type: "call",
	}
	if chain.ID == "" || chain.Validate() != nil {
		return ctx
	}
	return envelope.ContextWithCause(ctx, &chain)
}

// serve runs the handler of a request that has a place, and replies.
func (s *server) serve(ep *endpoint, x *inflight) {
	start := x.received
	if x.waited {
		start = time.Since(s.born)
		if start >= x.deadline {
			ep.stats.expired.Add(1)
			return
		}
	}
	data, err := s.invoke(ep, x)
	var failure *Error
	if err != nil {
		failure = s.classify(ep, x, err)
	}
	x.end(endReturned)
	x.took = time.Since(s.born) - start
	ep.stats.handled.Add(1)
	ep.stats.nanos.Add(int64(x.took))
	if failure != nil {
		s.fail(ep, x, failure)
		return
	}
	s.reply(ep, x, data)
}

// invoke calls the handler and makes an error of a panic. A handler that ends
// its goroutine is answered for while that goes on ending.
func (s *server) invoke(ep *endpoint, x *inflight) (data []byte, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			ep.stats.panics.Add(1)
			err = &panicError{value: v, stack: debug.Stack()}
			return
		}
		failure := s.classify(ep, x, errGoexit)
		x.end(endReturned)
		ep.stats.handled.Add(1)
		s.fail(ep, x, failure)
	}()
	data, err = ep.handle(x)
	returned = true
	return data, err
}

// classify says what the caller gets to know. What the handler classified
// itself crosses the wire; all else stays here, under an id.
func (s *server) classify(ep *endpoint, x *inflight, err error) *Error {
	var own *Error
	if errors.As(err, &own) && own.origin == byHandler {
		return own
	}
	_ = x.Err() // looks at the clock
	switch ending(x.ended.Load()) {
	case endDeadline:
		return Errorf(CodeDeadlineExceeded, "%s did not end in time", ep.name)
	case endStopped:
		return Errorf(CodeAborted, "the instance stopped before %s was done", ep.name)
	case endCanceled:
		return Errorf(CodeCanceled, "the caller gave up")
	case endReturned:
	}
	id := errorID()
	attrs := []any{"service", s.id.Name, "endpoint", ep.name, "error_id", id, "error", err}
	var p *panicError
	if errors.As(err, &p) {
		attrs = append(attrs, "stack", string(p.stack))
	}
	s.log.ErrorContext(x, "call failed", attrs...)
	e := Errorf(CodeInternal, "internal error")
	e.ID = id
	return e
}

// errorID is short enough to be read out, and unique enough to find a line.
func errorID() string { return strings.ToLower(rand.Text()[:10]) }

// refuse answers a request that found neither a place nor room in line.
func (s *server) refuse(ep *endpoint, x *inflight) {
	ep.stats.refused.Add(1)
	s.fail(ep, x, Errorf(CodeUnavailable, "%s of this instance takes no more requests", ep.name))
}
