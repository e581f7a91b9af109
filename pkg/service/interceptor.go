package service

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
)

// Request is one call or cast as an [Interceptor] sees it, before its data are
// decoded or after they are encoded.
type Request struct {
	// Service and Endpoint are the ones called.
	Service, Endpoint string
	// Instance, on the calling side, is the one addressed: empty for any, "all"
	// for each. On the serving side it is the one that runs the handler.
	Instance string
	// Cast tells that nobody waits for a reply.
	Cast bool
	// Header, on the calling side, may be added to: it is sent. On the serving
	// side it is what was received, nil without any, and not to be changed.
	Header nats.Header
	// Data are the encoded arguments.
	Data []byte

	// Of the calling side alone.
	same    *Affinity
	retry   bool          // may be made again although it may have run
	each    time.Duration // for one attempt of those
	replies int           // wanted of a gathering; 0 for as many as come
	gather  *gathering
}

// Invoker runs a request: it sends it, or it hands it to the endpoint. The
// result of a cast is nil, and so is that of a gathering on the calling side,
// whose replies come later. A call that is retried is invoked once.
type Invoker func(ctx context.Context, r *Request) ([]byte, error)

// Interceptor wraps an [Invoker], on either side of a call: for authentication,
// logs, traces. The first of several is the outermost.
type Interceptor func(next Invoker) Invoker

func chain(interceptors []Interceptor, last Invoker) Invoker {
	for i := len(interceptors) - 1; i >= 0; i-- {
		last = interceptors[i](last)
	}
	return last
}
