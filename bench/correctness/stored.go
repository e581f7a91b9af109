package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// stored is one event as a stream holds it.
type stored struct {
	n   int
	seq uint64
	at  int64 // ns since 1970, by the server
}

// readStream reads all events of a stream. It is the checker's own look: it
// uses no durable and acknowledges nothing.
func readStream(ctx context.Context, js jetstream.JetStream, name string) ([]stored, error) {
	total, err := messages(ctx, js, name)
	if err != nil || total == 0 {
		return nil, err
	}
	c, err := js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", name, err)
	}
	out := make([]stored, 0, total)
	for len(out) < total {
		m, err := c.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil {
			return nil, fmt.Errorf("read stream %s: %w", name, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, fmt.Errorf("read stream %s: %w", name, err)
		}
		var p placed
		if err := json.Unmarshal(m.Data(), &p); err != nil {
			return nil, fmt.Errorf("read stream %s: message %d: %w", name, meta.Sequence.Stream, err)
		}
		out = append(out, stored{n: p.N, seq: meta.Sequence.Stream, at: meta.Timestamp.UnixNano()})
	}
	return out, nil
}

// verifyStored compares what the stream holds with what it has confirmed. A
// difference means that the row says nothing about the contender.
func verifyStored(events []stored, confirmed map[int]uint64) error {
	if len(events) != len(confirmed) {
		return fmt.Errorf("the stream holds %d events and has confirmed %d", len(events), len(confirmed))
	}
	var errs []error
	for _, e := range events {
		if seq, ok := confirmed[e.n]; !ok || seq != e.seq {
			errs = append(errs, fmt.Errorf("event %d stands at %d, confirmed was %d", e.n, e.seq, seq))
		}
	}
	return errors.Join(errs...)
}
