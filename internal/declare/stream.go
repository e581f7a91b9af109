package declare

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// streamItem is a declared stream.
type streamItem struct{ want jetstream.StreamConfig }

func (i streamItem) look(ctx context.Context, p *Planner) (*Step, error) {
	s := &Step{Kind: KindStream, Name: i.want.Name, Generation: stream.GenerationOf(i.want.Metadata)}
	found, err := p.JS.Stream(ctx, i.want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		p.create(s, i.want)
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: look up: %w", i.want.Name, err)
	}
	p.compare(s, i.want, found.CachedInfo().Config)
	return s, nil
}

// create fills a step for a stream that is missing, and says in what it will
// fall short of its durability.
func (p *Planner) create(s *Step, want jetstream.StreamConfig) {
	s.Action = Create
	if want.Replicas == 0 {
		want.Replicas = min(stream.DefaultReplicas, p.replicas())
	}
	declared, _ := stream.Declared(want.Metadata)
	if s.Drift = declared.Lacks(want); len(s.Drift) > 0 {
		s.Note = remedies(s.Name, s.Drift)
	}
}

// compare fills a step for a stream that is there.
func (p *Planner) compare(s *Step, want, have jetstream.StreamConfig) {
	next, changes := stream.Raise(want, have, p.replicas())
	s.Found, s.Changes = stream.GenerationOf(have.Metadata), changes
	declared, _ := stream.Declared(want.Metadata)
	s.Drift = append(declared.Lacks(next), stream.Drift(want, next)...)
	switch {
	case s.Found > s.Generation:
		s.Action, s.Note = Newer, newerNote(s)
	case len(changes) > 0:
		s.Action = Update
	case len(s.Drift) > 0:
		s.Action, s.Note = Drift, "used as it is: "+remedies(s.Name, s.Drift)
	default:
		s.Action = Unchanged
	}
	if len(s.Drift) == 0 && !stream.Made(have.Metadata) {
		s.Note = "not made by Agner"
	}
}

func newerNote(s *Step) string {
	return fmt.Sprintf("left alone: it is of generation %d, and this declaration of %d", s.Found, s.Generation)
}

// remedies says what to do about drift, each way once.
func remedies(name string, drift []stream.Difference) string {
	var out []string
	for _, d := range drift {
		r := stream.Remedy(name, d.Field)
		if len(out) == 0 || out[len(out)-1] != r {
			out = append(out, r)
		}
	}
	return strings.Join(out, "; ")
}

func (i streamItem) act(ctx context.Context, p *Planner, s *Step) error {
	if s.Action == Create {
		return p.provisioner(i.want.Replicas, i.want.Metadata).Ensure(ctx, i.want)
	}
	return p.raise(ctx, i.want.Name, i.want)
}

// raise updates a stream from what it is now.
func (p *Planner) raise(ctx context.Context, name string, want jetstream.StreamConfig) error {
	found, err := p.JS.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("look up: %w", err)
	}
	next, _ := stream.Raise(want, found.CachedInfo().Config, p.replicas())
	if _, err := p.JS.UpdateStream(ctx, next); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	return nil
}

// bucketItem is a declared bucket: a stream with a name of its own. Of one that
// is there only what bears on durability is looked at, and raised.
type bucketItem struct {
	want jetstream.KeyValueConfig
}

func (i bucketItem) look(ctx context.Context, p *Planner) (*Step, error) {
	s := &Step{Kind: KindBucket, Name: i.want.Bucket, Generation: stream.GenerationOf(i.want.Metadata)}
	found, err := p.JS.Stream(ctx, stream.KVStream(i.want.Bucket))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		p.create(s, i.like(jetstream.StreamConfig{}))
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: look up: %w", i.want.Bucket, err)
	}
	have := found.CachedInfo().Config
	p.compare(s, i.like(have), have)
	return s, nil
}

// like is the bucket's stream as it is, with what is declared of its
// durability.
func (i bucketItem) like(have jetstream.StreamConfig) jetstream.StreamConfig {
	want := have
	want.Storage, want.Replicas, want.Metadata = i.want.Storage, i.want.Replicas, i.want.Metadata
	want.MaxAge = i.want.TTL
	return want
}

func (i bucketItem) act(ctx context.Context, p *Planner, s *Step) error {
	if s.Action == Create {
		_, err := p.provisioner(i.want.Replicas, i.want.Metadata).Bucket(ctx, i.want)
		return err
	}
	found, err := p.JS.Stream(ctx, stream.KVStream(i.want.Bucket))
	if err != nil {
		return fmt.Errorf("look up: %w", err)
	}
	return p.raise(ctx, stream.KVStream(i.want.Bucket), i.like(found.CachedInfo().Config))
}
