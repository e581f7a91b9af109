package position

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// ErrResetUnfinished reports a durable whose position belongs to another
// generation: a reset of the group was interrupted, or is about to finish.
var ErrResetUnfinished = errors.New("a reset of the group is not finished")

// Bucket is AGNER_POSITIONS. It is safe for concurrent use.
type Bucket struct {
	kv jetstream.KeyValue
}

// Open finds or makes the bucket.
func Open(ctx context.Context, p *stream.Provisioner, ns subject.Namespace) (*Bucket, error) {
	kv, err := p.Bucket(ctx, stream.Positions(ns))
	if err != nil {
		return nil, err
	}
	return &Bucket{kv: kv}, nil
}

// Load returns the saved position of a durable and its revision, which is 0 if
// there is none.
func (b *Bucket) Load(ctx context.Context, durable string) (Position, uint64, error) {
	var p Position
	e, err := b.kv.Get(ctx, durable)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return p, 0, nil
	}
	if err != nil {
		return p, 0, fmt.Errorf("read position of %s: %w", durable, err)
	}
	if err := json.Unmarshal(e.Value(), &p); err != nil {
		return p, 0, fmt.Errorf("position of %s is not valid; delete it from bucket %s or mend it: %w", durable, b.kv.Bucket(), err)
	}
	return p, e.Revision(), nil
}

// store writes a position if its revision is still that, and tells whether it
// was.
func (b *Bucket) store(ctx context.Context, durable string, p Position, revision uint64) (bool, error) {
	value, err := json.Marshal(p)
	if err != nil {
		return false, fmt.Errorf("encode position of %s: %w", durable, err)
	}
	if revision == 0 {
		_, err = b.kv.Create(ctx, durable, value)
	} else {
		_, err = b.kv.Update(ctx, durable, value, revision)
	}
	switch {
	case errors.Is(err, jetstream.ErrKeyExists):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("save position of %s: %w", durable, stream.Full(err))
	}
	return true, nil
}

// Raise raises the saved floor to that of the durable; of several instances
// that do so at once one wins, and it matters little which. The durable is
// looked up by info, after the position was read. The error matches
// ErrResetUnfinished if the position is not that durable's to raise; the info,
// where it is not nil, is good with any error.
func (b *Bucket) Raise(ctx context.Context, durable string, created int64, info func() (*jetstream.ConsumerInfo, error)) (Position, *jetstream.ConsumerInfo, error) {
	p, revision, err := b.Load(ctx, durable)
	if err != nil {
		return p, nil, err
	}
	i, err := info()
	if err != nil {
		return p, nil, err
	}
	generation := GenerationOf(i.Config)
	switch {
	case revision == 0:
		p.Generation = generation // somebody deleted the position
	case p.Generation != generation:
		return p, i, fmt.Errorf("position of %s: %w: natsctl group reset mends it", durable, ErrResetUnfinished)
	case p.Created == created && p.Floor >= i.AckFloor.Stream:
		return p, i, nil
	}
	p.Created, p.Floor = created, i.AckFloor.Stream
	_, err = b.store(ctx, durable, p, revision) // else another instance was faster
	return p, i, err
}

// Latest returns the position as the leader of the bucket has it: an ordinary
// read may be answered by a replica that lags. It costs a write, of what stands
// there, which fails if that is no longer the latest.
func (b *Bucket) Latest(ctx context.Context, durable string) (Position, error) {
	for {
		p, revision, err := b.Load(ctx, durable)
		if err != nil || revision == 0 {
			return p, err
		}
		if ok, err := b.store(ctx, durable, p, revision); ok || err != nil {
			return p, err
		}
	}
}

// Begin begins a generation whose durable stands at floor, and returns it. If
// the latest generation has that floor and its durable, of generation have, was
// not set yet, it is that one: a reset that is run again goes on.
func (b *Bucket) Begin(ctx context.Context, durable string, created int64, floor, have uint64) (Position, error) {
	for {
		p, revision, err := b.Load(ctx, durable)
		if err != nil {
			return p, err
		}
		if p.Generation != have && p.Created == created && p.Floor == floor {
			return p, nil
		}
		p = Position{Created: created, Floor: floor, Generation: max(p.Generation, have) + 1}
		if ok, err := b.store(ctx, durable, p, revision); ok || err != nil {
			return p, err
		}
	}
}
