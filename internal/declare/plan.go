package declare

import (
	"fmt"
	"time"

	"github.com/agner-go/agner/internal/stream"
)

// Action is what a plan does to one thing.
type Action string

const (
	// Create makes what is missing.
	Create Action = "create"
	// Update changes what Changes lists.
	Update Action = "update"
	// Unchanged leaves what is as declared.
	Unchanged Action = "unchanged"
	// Drift leaves alone what differs, and names how in Drift.
	Drift Action = "drift"
	// Newer leaves alone what a later generation has made or changed.
	Newer Action = "newer"
	// Conflict is a durable of the same name that belongs to somebody else. A
	// plan with one is not applied.
	Conflict Action = "conflict"
	// Orphaned leaves alone a durable that no declaration names.
	Orphaned Action = "orphaned"
	// Delete deletes an orphaned durable with its retries and its position.
	Delete Action = "delete"
)

// Kinds of things.
const (
	KindStream  = "stream"
	KindBucket  = "bucket"
	KindDurable = "durable"
)

// Step is what a plan does to one stream, bucket or durable.
type Step struct {
	Action Action `json:"action"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Stream string `json:"stream,omitempty"` // of a durable

	Generation uint64 `json:"generation"`                 // declared
	Found      uint64 `json:"generation_found,omitempty"` // that the server has

	Changes []stream.Difference `json:"changes,omitempty"` // that an update makes
	Drift   []stream.Difference `json:"drift,omitempty"`   // that stays
	Note    string              `json:"note,omitempty"`

	Orphan *Orphan `json:"orphan,omitempty"`

	Done bool `json:"done,omitempty"`

	item item
}

// Orphan is what an orphaned durable still has.
type Orphan struct {
	Group        string `json:"group"`
	Subscription string `json:"subscription"`
	Type         string `json:"type"`

	Pending uint64    `json:"pending"`          // events not settled, waiting retries included
	Retries uint64    `json:"retries"`          // of them
	Oldest  time.Time `json:"oldest,omitzero"`  // when the oldest of them was published
	Active  time.Time `json:"active,omitzero"`  // when it was last pulled from
	Pulled  bool      `json:"pulled,omitempty"` // somebody pulls from it now
}

// Plan is what Apply will do.
type Plan struct {
	Steps []*Step `json:"steps"`
}

// Pending counts the steps that change something and are not done.
func (p *Plan) Pending() int {
	n := 0
	for _, s := range p.Steps {
		if s.acts() && !s.Done {
			n++
		}
	}
	return n
}

func (s *Step) acts() bool {
	switch s.Action {
	case Create, Update, Delete:
		return true
	case Unchanged, Drift, Newer, Conflict, Orphaned:
	}
	return false
}

// Conflicts are the steps for which the plan cannot be applied.
func (p *Plan) Conflicts() []*Step {
	var out []*Step
	for _, s := range p.Steps {
		if s.Action == Conflict {
			out = append(out, s)
		}
	}
	return out
}

func (s *Step) String() string { return fmt.Sprintf("%s %s %s", s.Action, s.Kind, s.Name) }
