package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// load sends the messages: each key by one sender, which waits until a message is
// acknowledged before it sends the next one.
type load struct {
	messages int
	keys     int
	senders  int
	seed     uint64
	share    int // one message in so many is an event
	roads    map[Origin]road
	history  *History
	pace     *pace
	acked    atomic.Int64
}

// road takes a message to where it is stored. It returns nil once it is stored,
// and may be called again with a message that may be.
type road func(ctx context.Context, key string, n int) error

// stubborn is how long one message is tried: longer than any fault. It is within
// the window of the mailbox in which it knows a message again.
const stubborn = 90 * time.Second

// run sends all messages, and returns the first error that no trying mended.
func (l *load) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for i := range l.senders {
		share := l.messages / l.senders
		if i < l.messages%l.senders {
			share++
		}
		all.Go(func() {
			if err := l.send(ctx, i, share); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// send is one sender, with every senders-th key.
func (l *load) send(ctx context.Context, sender, share int) error {
	draw := rand.New(rand.NewPCG(l.seed, uint64(sender))) //nolint:gosec // G404, G115: a small number, and no secret
	type lane struct {
		origin Origin
		key    int
	}
	last := make(map[lane]int)
	for range share {
		if !l.pace.turn(ctx) {
			return nil
		}
		at := lane{Direct, sender + l.senders*draw.IntN((l.keys-sender+l.senders-1)/l.senders)}
		if l.share > 0 && draw.IntN(l.share) == 0 {
			at.origin = Events
		}
		last[at]++
		if err := l.deliver(ctx, at.origin, KeyOf(at.key), last[at]); err != nil {
			return err
		}
	}
	return nil
}

// deliver tries one message until it is stored, and writes it down then.
func (l *load) deliver(ctx context.Context, origin Origin, key string, n int) error {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, stubborn)
	defer cancel()
	for try := 1; ; try++ {
		err := l.roads[origin](limited, key, n)
		switch {
		case err == nil:
			l.acked.Add(1)
			l.history.Add(Record{What: recordAcked, Origin: origin, Key: key, N: n, Took: time.Since(began), Tries: try})
			return nil
		case ctx.Err() != nil:
			return nil
		case limited.Err() != nil:
			return fmt.Errorf("message %d of %s (%s) could not be sent within %s: %w", n, key, origin, stubborn, err)
		}
		l.history.Add(Record{What: recordFailed, Origin: origin, Key: key, N: n, Tries: try, Error: err.Error()})
		wait(limited, 20*time.Millisecond)
	}
}
