package service

import (
	"errors"
	"fmt"
	"time"

	"github.com/agner-go/agner/internal/goroutine"
)

// ErrHung reports handlers of an endpoint that did not return although their
// deadlines had passed and their contexts had ended.
var ErrHung = errors.New("service: handlers ignore their deadlines")

const (
	// hangGrace is what a handler gets beyond its deadline to notice it.
	hangGrace = time.Second
	// hangLook is how often a pool looks for handlers that hang.
	hangLook = time.Second
)

// giveUpHung frees the places of handlers that hang and names them with their
// stacks. It fails once more of them hang than may run: then the endpoint is
// no longer what it was made for, and its supervisor decides.
func (p *pool) giveUpHung() error {
	now := time.Since(p.srv.born)
	var found []*inflight
	var ids []string
	p.mu.Lock()
	for place, x := range p.running {
		if x == nil || now < x.deadline+hangGrace {
			continue
		}
		x.hung = true
		p.hung[x] = struct{}{}
		p.ep.stats.hung.Add(1)
		p.running[place] = nil
		found = append(found, x)
		ids = append(ids, x.worker)
		p.workers.Go(func() { p.resume(nil, place) })
	}
	hung := len(p.hung)
	p.mu.Unlock()
	if len(found) == 0 {
		return nil
	}
	stacks := goroutine.Stacks(ids)
	for _, x := range found {
		x.end(endDeadline)
		p.srv.log.Error("handler ignores its deadline; another worker takes its place",
			"service", p.srv.id.Name, "endpoint", p.ep.name, "running", now-x.received, "stack", stacks[x.worker])
	}
	if hung > p.ep.concurrency {
		return fmt.Errorf("endpoint %s: %w: %d of them, %d may run", p.ep.name, ErrHung, hung, p.ep.concurrency)
	}
	return nil
}
