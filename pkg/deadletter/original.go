package deadletter

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// Original returns the event of a letter as it stands in EVENTS: its message, with
// what the letter has omitted or redacted. The error matches ErrOriginGone if it
// stands there no more, or is the server's.
func (c *Client) Original(ctx context.Context, l *Letter) (*nats.Msg, error) {
	return c.original(ctx, l, &once[streamLook]{})
}

// streamLook is a stream, or why there is none.
type streamLook struct {
	stream jetstream.Stream
	err    error
}

func (c *Client) original(ctx context.Context, l *Letter, streams *once[streamLook]) (*nats.Msg, error) {
	// Only there do events stand: whoever may write dead letters must not be able
	// to have other streams read out.
	if name := c.ns.Stream(stream.EventsName); l.Origin.Stream != name {
		return nil, fmt.Errorf("dead letter %d: %w: it names the stream %.60q, not %s", l.Sequence, ErrOriginGone, l.Origin.Stream, name)
	}
	look := streams.get(l.Origin.Stream, func() (streamLook, bool) {
		s, err := c.js.Stream(ctx, l.Origin.Stream)
		return streamLook{s, err}, err == nil || errors.Is(err, jetstream.ErrStreamNotFound)
	})
	if errors.Is(look.err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("dead letter %d: %w: %s does not exist: %w", l.Sequence, ErrOriginGone, l.Origin.Stream, look.err)
	}
	if look.err != nil {
		return nil, fmt.Errorf("dead letter %d: stream %s: %w", l.Sequence, l.Origin.Stream, look.err)
	}
	if look.stream.CachedInfo().Created.UnixNano() != l.Origin.Created {
		return nil, fmt.Errorf("dead letter %d: %w: %s was made anew since", l.Sequence, ErrOriginGone, l.Origin.Stream)
	}
	m, err := look.stream.GetMsg(ctx, l.Origin.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, fmt.Errorf("dead letter %d: %w: %s sequence %d, where it was kept, is gone: %w",
			l.Sequence, ErrOriginGone, l.Origin.Stream, l.Origin.Sequence, err)
	}
	if err != nil {
		return nil, fmt.Errorf("dead letter %d: %s sequence %d: %w", l.Sequence, l.Origin.Stream, l.Origin.Sequence, err)
	}
	if _, _, err := c.ns.ParseEvent(m.Subject); err != nil {
		return nil, fmt.Errorf("dead letter %d: %w: %s sequence %d is no event: %w", l.Sequence, ErrOriginGone, l.Origin.Stream, l.Origin.Sequence, err)
	}
	return &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data}, nil
}

// event gives the event of a letter as a message: from EVENTS where the letter
// does not hold the whole of it.
func (c *Client) event(ctx context.Context, l *Letter, streams *once[streamLook]) (*nats.Msg, error) {
	if l.Whole() {
		return &nats.Msg{Subject: l.Origin.Subject, Header: l.Header, Data: l.Data}, nil
	}
	return c.original(ctx, l, streams)
}
