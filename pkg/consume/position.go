package consume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// position is what the bucket AGNER_POSITIONS keeps of a durable, so that one
// that vanishes is made again where it stood. Part of the wire.
type position struct {
	// Created is the creation time of the stream, ns since 1970: a floor means
	// nothing on a stream that was made anew.
	Created int64 `json:"stream_created"`
	// Floor is the last stream sequence up to which everything is settled.
	Floor uint64 `json:"floor"`
	// Generation is raised by a reset, which alone may lower the floor.
	Generation uint64 `json:"generation"`
}

// positions is the bucket, found or made when first needed.
type positions struct {
	kv jetstream.KeyValue
}

func openPositions(ctx context.Context, p *stream.Provisioner, shape jetstream.KeyValueConfig) (*positions, error) {
	kv, err := p.Bucket(ctx, shape)
	if err != nil {
		return nil, err
	}
	return &positions{kv: kv}, nil
}

// load returns the saved position of a durable, and false if there is none.
func (p *positions) load(ctx context.Context, durable string) (pos position, revision uint64, ok bool, err error) {
	e, err := p.kv.Get(ctx, durable)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return pos, 0, false, nil
	}
	if err != nil {
		return pos, 0, false, fmt.Errorf("read position of %s: %w", durable, err)
	}
	if err := json.Unmarshal(e.Value(), &pos); err != nil {
		return pos, 0, false, fmt.Errorf("position of %s is not valid; delete it from bucket %s or mend it: %w", durable, p.kv.Bucket(), err)
	}
	return pos, e.Revision(), true, nil
}

// save raises the saved floor, by compare-and-set and never down: of several
// instances that save at once one wins, and it matters little which. info is
// asked for after the position was read: a reset that comes between the two has
// changed the revision, so that the floor from before it is not written over it.
func (p *positions) save(ctx context.Context, durable string, created int64, info func() (*jetstream.ConsumerInfo, error)) (*jetstream.ConsumerInfo, error) {
	pos, revision, known, err := p.load(ctx, durable)
	if err != nil {
		return nil, err
	}
	i, err := info()
	if err != nil {
		return nil, err
	}
	next := position{Created: created, Floor: i.AckFloor.Stream, Generation: pos.Generation}
	if known && pos.Created == created && pos.Floor >= next.Floor {
		return i, nil
	}
	value, err := json.Marshal(next)
	if err != nil {
		return i, fmt.Errorf("encode position: %w", err)
	}
	if known {
		_, err = p.kv.Update(ctx, durable, value, revision)
	} else {
		_, err = p.kv.Create(ctx, durable, value)
	}
	if err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return i, fmt.Errorf("save position of %s: %w", durable, err)
	}
	return i, nil // ErrKeyExists: another instance was faster
}

// resume changes the start of a durable that is made again: behind the saved
// floor; from the oldest event if the stream is another one by now, since all
// that it holds came later; as configured if nothing was saved.
func (pos position) resume(c *jetstream.ConsumerConfig, created int64) {
	c.OptStartSeq, c.OptStartTime = 0, nil
	if pos.Created != created {
		c.DeliverPolicy = jetstream.DeliverAllPolicy
		return
	}
	c.DeliverPolicy = jetstream.DeliverByStartSequencePolicy
	c.OptStartSeq = pos.Floor + 1
}

// observeEvery is how often a loop looks at its durable as the server sees it.
const observeEvery = 5 * time.Second
