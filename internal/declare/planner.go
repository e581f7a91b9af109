package declare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

var (
	// ErrConflict reports a plan that cannot be applied: a durable belongs to
	// somebody else.
	ErrConflict = errors.New("the plan has a conflict")
	// ErrChanged reports that the server is not as it was when the plan was
	// made; what was done before that is done.
	ErrChanged = errors.New("the server has changed since the plan was made: plan again")
)

// Planner holds declarations against a server. It is safe for concurrent use.
type Planner struct {
	JS jetstream.JetStream
	// Prune deletes orphaned durables from which nobody pulls.
	Prune bool
	// Logger is told what falls short of its durability when it is made. Nil
	// means slog.Default().
	Logger *slog.Logger
}

// item is one thing that is declared, or that is there and is not.
type item interface {
	// look compares it with the server, and changes nothing.
	look(ctx context.Context, p *Planner) (*Step, error)
	// act does what look has just found to be done.
	act(ctx context.Context, p *Planner, s *Step) error
}

// Plan compares declarations with the server, and changes nothing. The
// declarations are those of all programs that share a group: a durable of a
// declared group that none of them names is orphaned. Other groups are not
// looked at.
func (p *Planner) Plan(ctx context.Context, declared ...Declaration) (*Plan, error) {
	if len(declared) == 0 {
		return &Plan{}, nil
	}
	all := New(subject.Namespace(declared[0].Namespace))
	for _, d := range declared {
		if err := all.Merge(d); err != nil {
			return nil, err
		}
	}
	items := make([]item, 0, len(all.Streams)+len(all.Buckets)+len(all.Durables))
	for _, s := range sourcesFirst(all.Streams) {
		items = append(items, streamItem{s})
	}
	for _, b := range all.Buckets {
		items = append(items, bucketItem{b})
	}
	for _, c := range all.Durables {
		items = append(items, durableItem{subject.Namespace(all.Namespace), c})
	}
	orphans, err := p.orphans(ctx, all)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Steps: []*Step{}}
	for _, i := range append(items, orphans...) {
		s, err := i.look(ctx, p)
		if err != nil {
			return nil, err
		}
		s.item = i
		plan.Steps = append(plan.Steps, s)
	}
	return plan, nil
}

// Apply does what the plan says, in its order, and tells done of each step that
// it did. Before each it looks again: what has changed since the plan was made,
// as by somebody else who applies, is not done (ErrChanged), and what is as
// wanted by now counts as done. It stops at the first error; planning and
// applying again goes on from there.
func (p *Planner) Apply(ctx context.Context, plan *Plan, done func(*Step)) error {
	for _, s := range plan.Steps {
		if s.Action == Conflict {
			return fmt.Errorf("%s %s: %w: %s", s.Kind, s.Name, ErrConflict, s.Note)
		}
	}
	for _, s := range plan.Steps {
		if !s.acts() || s.Done {
			continue
		}
		if err := p.apply(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		s.Done = true
		done(s)
	}
	return nil
}

func (p *Planner) apply(ctx context.Context, s *Step) error {
	now, err := s.item.look(ctx, p)
	switch {
	case err != nil:
		return err
	case now.Action == Unchanged:
		return nil
	case now.Action != s.Action || !slices.Equal(now.Changes, s.Changes):
		return ErrChanged
	}
	return s.item.act(ctx, p, now)
}

// sourcesFirst orders streams so that each stands after those it sources.
func sourcesFirst(all []jetstream.StreamConfig) []jetstream.StreamConfig {
	depth := map[string]int{}
	// As many rounds as there are streams settle the longest chain; what
	// sources itself in a circle is for the server to refuse.
	for range all {
		for _, s := range all {
			for _, src := range s.Sources {
				depth[s.Name] = max(depth[s.Name], min(depth[src.Name]+1, len(all)))
			}
		}
	}
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b jetstream.StreamConfig) int { return cmp.Compare(depth[a.Name], depth[b.Name]) })
	return out
}

// replicas is how many there can be: what the server allows is its to say, but
// one that is in no cluster allows one.
func (p *Planner) replicas() int {
	if p.JS.Conn().ConnectedClusterName() == "" {
		return 1
	}
	return stream.MaxReplicas
}

func (p *Planner) provisioner(replicas int, metadata map[string]string) *stream.Provisioner {
	d, _ := stream.Declared(metadata)
	return &stream.Provisioner{JS: p.JS, Replicas: replicas, Durability: d, Logger: p.Logger}
}
