package service

import (
	"context"
	"fmt"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/supervise"
)

// Part is one thing that a service does: a handler of events, an endpoint, or
// a child with a Run of its own. Parts are made by [On], [OnEvent], [Handle]
// and [Add], and given to [New] once.
type Part struct {
	subscription *consume.Subscription
	endpoint     *endpoint
	child        *supervise.Child
}

// On handles the events of one type through a durable subscription of the
// service's group: each event reaches one instance. See [consume.On].
func On[T envelope.Payload](h func(ctx context.Context, e envelope.Event[T]) error, opts ...consume.Option) Part {
	s := consume.On(h, opts...)
	return Part{subscription: &s}
}

// OnEvent handles all events whose type matches a pattern, untyped. See
// [consume.OnEvent].
func OnEvent(pattern string, h consume.HandlerFunc, opts ...consume.Option) Part {
	s := consume.OnEvent(pattern, h, opts...)
	return Part{subscription: &s}
}

// Handle answers calls to an endpoint, whose name consists of a-z, 0-9 and '-'
// and is neither `all` nor `cancel`. Requests and results are JSON; an empty
// body is the zero Req. The handler's context ends with the caller's deadline,
// when the caller gives up, at the end of a drain, and when the handler has
// returned.
//
// An error made by [Errorf] reaches the caller as it is. A context's error,
// once that context has ended, reaches it as CodeDeadlineExceeded or
// CodeCanceled. Any other error, also one that a nested [Call] returned, and a
// panic reach it as [CodeInternal] without their text; the text is in the log,
// under an id that the caller sees.
func Handle[Req, Res any](name string, h func(ctx context.Context, req Req) (Res, error), opts ...EndpointOption) Part {
	return Part{endpoint: newEndpoint(name, h, opts)}
}

// Add runs r as a supervised child beside the handlers, and restarts it if it
// ends. It starts before any event or call is taken and is stopped after they
// are finished. Its Run must return when its context ends and may be called
// again once it has returned; if it has a RunReady (see
// [supervise.ReadyRunner]) it is waited for. A *[supervise.Supervisor] brings
// children of its own.
func Add(name string, r interface {
	Run(ctx context.Context) error
},
) Part {
	return Part{child: &supervise.Child{Name: name, Runner: r}}
}

// parts are the sorted and checked arguments of New.
type parts struct {
	subscriptions []consume.Subscription
	endpoints     []*endpoint
	children      []supervise.Child
}

func collect(all []Part) (p parts, err error) {
	seen := make(map[string]bool)
	for i, part := range all {
		switch {
		case part.subscription != nil:
			p.subscriptions = append(p.subscriptions, *part.subscription)
		case part.endpoint != nil:
			if err := part.endpoint.check(); err != nil {
				return p, err
			}
			if seen[part.endpoint.name] {
				return p, fmt.Errorf("endpoint %q is given twice: %w", part.endpoint.name, ErrConfig)
			}
			seen[part.endpoint.name] = true
			p.endpoints = append(p.endpoints, part.endpoint)
		case part.child != nil:
			p.children = append(p.children, *part.child)
		default:
			return p, fmt.Errorf("part %d is empty: make parts with On, OnEvent, Handle or Add: %w", i+1, ErrConfig)
		}
	}
	return p, nil
}
