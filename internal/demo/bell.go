package demo

import (
	"context"
	"sync"
)

// bell wakes those who wait for a condition whenever something has changed.
type bell struct {
	mu   sync.Mutex
	rung chan struct{} // closed and renewed
}

func newBell() *bell { return &bell{rung: make(chan struct{})} }

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.rung)
	b.rung = make(chan struct{})
}

// await returns when cond holds, which it looks at after every ring, or with
// the cause when ctx ends.
func (b *bell) await(ctx context.Context, cond func() bool) error {
	for {
		b.mu.Lock()
		rung := b.rung
		b.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-rung:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
