package deadletter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/envelope"
)

// Export writes the events of the letters that a filter selects to w: one
// CloudEvent in its JSON format on each line, in the order of List. It yields a
// Result for each. Skipped are letters that are no event, whose event is gone
// (ErrOriginGone), and redacted ones (ErrRedacted): what would be published again
// would be another event under the same id. An error is the last that it yields;
// it matches ErrConfig or jetstream.ErrStreamNotFound, is the server's, or w's.
//
// Headers of a message that are no attributes of its event are not written.
func (c *Client) Export(ctx context.Context, w io.Writer, f Filter) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		fail := func(err error) { yield(Result{}, fmt.Errorf("export: %w", err)) }
		dead, err := c.dead(ctx)
		if err != nil {
			fail(err)
			return
		}
		var streams once[streamLook]
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for r := range c.ahead(ctx, f, func(l *Letter) line { return c.line(ctx, dead, l, &streams) }) {
			if r.err == nil && r.Skipped == nil {
				_, r.err = w.Write(append(r.text, '\n'))
			}
			if r.err != nil {
				fail(r.err)
				return
			}
			if !yield(r.Result, nil) {
				return
			}
		}
	}
}

// line is a letter as it is exported.
type line struct {
	outcome
	text []byte
}

// ahead reads letters by several workers at once and gives what they make of
// them in order, each as it becomes ready.
func (c *Client) ahead(ctx context.Context, f Filter, read func(*Letter) line) iter.Seq[line] {
	return func(yield func(line) bool) {
		ctx, cancel := context.WithCancel(ctx)
		queue := make(chan chan line, c.workers)
		defer func() {
			cancel()
			for ready := range queue { // until the reader is gone
				<-ready
			}
		}()
		go func() {
			defer close(queue)
			for l, err := range c.List(ctx, f) {
				ready := make(chan line, 1)
				switch {
				case err != nil && l == nil:
					ready <- line{outcome: outcome{err: err}}
				case err != nil:
					ready <- line{outcome: outcome{Result: Result{Letter: l, Skipped: err}}}
				default:
					go func() { ready <- read(l) }()
				}
				select {
				case queue <- ready:
				case <-ctx.Done():
					<-ready
					return
				}
			}
		}()
		for ready := range queue {
			if !yield(<-ready) {
				return
			}
		}
	}
}

// line reads a letter and writes its event.
func (c *Client) line(ctx context.Context, dead jetstream.Stream, l *Letter, streams *once[streamLook]) line {
	skip := func(err error) line { return line{outcome: outcome{Result: Result{Letter: l, Skipped: err}}} }
	if l.Redacted != "" {
		return skip(fmt.Errorf("dead letter %d: %w: its %s", l.Sequence, ErrRedacted, l.Redacted))
	}
	whole, err := c.get(ctx, dead, l.Sequence)
	if err == nil {
		l = whole
		var m *nats.Msg
		if m, err = c.event(ctx, l, streams); err == nil {
			var e envelope.Raw
			if e, err = envelope.Unmarshal(m); err == nil {
				var text bytes.Buffer
				if m, err = envelope.MarshalStructured(&e); err == nil {
					err = json.Compact(&text, m.Data) // data may hold line breaks
				}
				if err == nil {
					return line{outcome: outcome{Result: Result{Letter: l}}, text: text.Bytes()}
				}
			}
			return skip(fmt.Errorf("dead letter %d: %w: %w", l.Sequence, ErrLetter, err))
		}
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrLetter) || errors.Is(err, ErrOriginGone) {
		return skip(err)
	}
	return line{outcome: outcome{err: err}}
}
