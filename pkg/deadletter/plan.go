package deadletter

import (
	"context"
	"errors"
	"fmt"
)

// Plan says what a replay would do.
type Plan struct {
	Eligible int        `json:"eligible"` // letters that it would replay
	Skipped  int        `json:"skipped"`  // letters that it would leave
	Lines    []PlanLine `json:"lines"`    // in the order of their first letters
	// Last is the greatest sequence that was looked at: with it in Filter.Through
	// a replay meets exactly these letters.
	Last uint64 `json:"last"`
}

// PlanLine is one kind of letters in a Plan.
type PlanLine struct {
	Group        string `json:"group"`
	Subscription string `json:"subscription"`
	Letters      int    `json:"letters"`
	First        uint64 `json:"first"`         // sequence of the first of them
	Skip         error  `json:"-"`             // why they are skipped, as in Result
	Why          string `json:"why,omitempty"` // its text
	FromEvents   int    `json:"from_events,omitempty"`
}

// Plan looks what Replay would do with a filter, and changes nothing. It asks for
// each subscription whether it is there, and for each letter that does not hold
// its whole event whether EVENTS still does. The errors are those of List.
func (c *Client) Plan(ctx context.Context, f Filter) (Plan, error) {
	type kind struct{ group, subscription, why string }
	var p Plan
	at := map[kind]int{}
	r := &replay{c: c}
	for l, err := range c.List(ctx, f) {
		if err != nil && l == nil {
			return Plan{}, fmt.Errorf("plan: %w", err)
		}
		p.Last = max(p.Last, l.Sequence)
		if err == nil {
			err = r.eligible(ctx, l)
		}
		if err != nil && !skips(err) && !errors.Is(err, ErrLetter) && !errors.Is(err, ErrNotFound) {
			return Plan{}, fmt.Errorf("plan: %w", err)
		}
		k := kind{l.Group, l.Subscription, class(err)}
		i, known := at[k]
		if !known {
			i = len(p.Lines)
			at[k] = i
			p.Lines = append(p.Lines, PlanLine{Group: l.Group, Subscription: l.Subscription, First: l.Sequence, Skip: err})
			if err != nil {
				p.Lines[i].Why = err.Error()
			}
		}
		p.Lines[i].Letters++
		if !l.Whole() {
			p.Lines[i].FromEvents++
		}
		if err == nil {
			p.Eligible++
		} else {
			p.Skipped++
		}
	}
	return p, nil
}

// eligible tells why a letter would be skipped, as far as its headers say.
func (r *replay) eligible(ctx context.Context, l *Letter) error {
	if !l.Whole() {
		_, err := r.message(ctx, l)
		return err
	}
	return r.lane(ctx, l)
}

// class is the kind of an error that skips a letter: one line of a plan.
func class(err error) string {
	for _, known := range []error{ErrNotFound, ErrLetter, ErrNoLane, ErrNoSubscription, ErrOriginGone, ErrTooLarge} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return ""
}
