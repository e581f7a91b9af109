package service

import (
	"runtime"

	"github.com/nats-io/nats.go"
)

// sending is a request on its way to the connection.
type sending struct {
	slot    *slot
	nonce   uint64
	subject string
	inbox   string
	header  nats.Header
	data    []byte
}

// send hands a request to the connection. Callers that wait side by side send
// in groups: left to themselves each would write its request, wake the
// connection's flusher and wait, and the scheduler runs the flusher next, so
// that each request would be a write of its own, here and at the server. So
// the first of them leads: it lets the others that are ready run, which only
// add to the group, and then sends for all. A caller alone sends at once.
//
// The error of a request in a group reaches its caller as the end of its wait.
func (x *mux) send(r sending) error {
	x.mu.Lock()
	if len(x.slots)-len(x.free) == 1 {
		x.mu.Unlock()
		return x.publish(&r)
	}
	x.group = append(x.group, r)
	lead := !x.leading
	x.leading = true
	x.mu.Unlock()
	if lead {
		runtime.Gosched()
		x.sendGroup()
	}
	return nil
}

func (x *mux) sendGroup() {
	x.mu.Lock()
	group := x.group
	x.group, x.spare, x.leading = x.spare, nil, false
	x.mu.Unlock()
	for i := range group {
		if err := x.publish(&group[i]); err != nil {
			x.fail(group[i].slot, group[i].nonce, err)
		}
	}
	clear(group)
	x.mu.Lock()
	x.spare = group[:0]
	x.mu.Unlock()
}

func (x *mux) publish(r *sending) error {
	if len(r.header) == 0 {
		return x.nc.PublishRequest(r.subject, r.inbox, r.data)
	}
	return x.nc.PublishMsg(&nats.Msg{Subject: r.subject, Reply: r.inbox, Header: r.header, Data: r.data})
}
