package chaos

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Evidence is all that the checker knows of a run: what went in, and what is
// there. The numbers of a key's messages are in their order: of those sent
// directly the order of the sender, which waits for each; of events that of the
// stream.
type Evidence struct {
	Inputs  map[Origin]map[string][]int // by origin and key
	States  map[string]Account          // of every entity
	Outputs []Output                    // as they stand in EVENTS
}

// Output is one output and where it stands.
type Output struct {
	Tallied
	ID       string // of the event
	Sequence uint64 // in EVENTS
	Stored   time.Time
}

func (o Output) String() string {
	return fmt.Sprintf("%s at %d, stored %s", o.ID, o.Sequence, o.Stored.Format("15:04:05.000"))
}

// Verdict counts what breaks the promise of the inbox, P6.
type Verdict struct {
	Wrong     int `json:"wrong"`     // states and outputs that no order of the input gives
	Reordered int `json:"reordered"` // chains and outputs that are out of order
	Lost      int `json:"lost"`      // messages not applied, outputs missing
	Doubled   int `json:"doubled"`   // messages applied twice, outputs that stand twice

	Entities int      `json:"-"` // compared
	Examples []string `json:"-"` // of each kind the first few
}

// Broken is how many findings there are.
func (v *Verdict) Broken() int { return v.Wrong + v.Reordered + v.Lost + v.Doubled }

// examplesKept is how many of each kind are kept.
const examplesKept = 5

func (v *Verdict) note(n *int, by int, format string, args ...any) {
	if *n < examplesKept {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
	*n += by
}

// Check replays the input by its own model and compares.
func Check(e Evidence) *Verdict {
	v := &Verdict{}
	m := newModel(e.Inputs)
	for _, key := range m.keys {
		v.Entities++
		v.state(m, key, e.States[key])
	}
	for _, key := range slices.Sorted(maps.Keys(e.States)) {
		if _, known := m.chains[key]; !known {
			v.note(&v.Wrong, 1, "%s has a state, and nothing was sent to it", key)
		}
	}
	byKey := make(map[string][]Output)
	for _, o := range e.Outputs {
		byKey[o.Key] = append(byKey[o.Key], o)
	}
	for _, key := range m.keys {
		v.outputs(m, key, byKey[key])
		delete(byKey, key)
	}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		v.note(&v.Wrong, len(byKey[key]), "%s has outputs, and nothing was sent to it", key)
	}
	return v
}

// model is what each entity must look like after each message: the chain of an
// origin after n messages stands at index n.
type model struct {
	keys   []string
	chains map[string]map[Origin][]Chain
}

func newModel(inputs map[Origin]map[string][]int) *model {
	m := &model{chains: make(map[string]map[Origin][]Chain)}
	for origin, keys := range inputs {
		for key, numbers := range keys {
			if m.chains[key] == nil {
				m.chains[key] = make(map[Origin][]Chain)
				m.keys = append(m.keys, key)
			}
			chain := make([]Chain, 1, len(numbers)+1)
			for i, n := range numbers {
				chain = append(chain, chain[i].Link(key, n))
			}
			m.chains[key][origin] = chain
		}
	}
	slices.Sort(m.keys)
	return m
}

// total is how many messages a key has.
func (m *model) total(key string) int {
	n := 0
	for _, c := range m.chains[key] {
		n += len(c) - 1
	}
	return n
}

// state compares the state in which an entity was left.
func (v *Verdict) state(m *model, key string, got Account) {
	for _, origin := range slices.Sorted(maps.Keys(m.chains[key])) {
		chain := m.chains[key][origin]
		want, is := chain[len(chain)-1], got.Chains[origin]
		switch {
		case is == want:
		case is.Count < want.Count:
			v.note(&v.Lost, want.Count-is.Count, "%s: state has %d of %d messages (%s), the last one number %d", key, is.Count, want.Count, origin, is.Last)
		case is.Count > want.Count:
			v.note(&v.Doubled, is.Count-want.Count, "%s: state has %d messages (%s), sent were %d", key, is.Count, origin, want.Count)
		case is.Sum == want.Sum:
			v.note(&v.Reordered, 1, "%s: state has all %d messages (%s) in another order", key, is.Count, origin)
		default:
			v.note(&v.Wrong, 1, "%s: state has %d messages (%s) and not those that were sent", key, is.Count, origin)
		}
	}
	if sum := got.sum(); sum != got.Count {
		v.note(&v.Wrong, 1, "%s: state counts %d messages, its chains %d", key, got.Count, sum)
	}
	for origin := range got.Chains {
		if _, sent := m.chains[key][origin]; !sent {
			v.note(&v.Wrong, 1, "%s: state has messages (%s) that nobody sent", key, origin)
		}
	}
}

func (a *Account) sum() int {
	n := 0
	for _, c := range a.Chains {
		n += c.Count
	}
	return n
}

// outputs compares the outputs of one key, in the order of EVENTS: one after each
// tallyEvery-th message, each of them a state that the entity went through.
func (v *Verdict) outputs(m *model, key string, got []Output) {
	seen := make(map[int]Output)
	last := Output{}
	for _, o := range got {
		n := o.Account.Count
		before, twice := seen[n]
		switch {
		case twice:
			v.note(&v.Doubled, 1, "%s: the output after %d messages stands twice: %s, and %s", key, n, before, o)
			continue
		case n < last.Account.Count:
			v.note(&v.Reordered, 1, "%s: the output after %d messages (%s) stands behind that after %d (%s)", key, n, o, last.Account.Count, last)
		case !m.through(key, o.Account) || n%tallyEvery != 0 || !last.Account.before(o.Account):
			v.note(&v.Wrong, 1, "%s: the output after %d messages (%s) tells of a state that the entity never had", key, n, o)
		}
		seen[n] = o
		if n > last.Account.Count {
			last = o
		}
	}
	for n := tallyEvery; n <= m.total(key); n += tallyEvery {
		if _, is := seen[n]; !is {
			v.note(&v.Lost, 1, "%s: no output after %d messages", key, n)
		}
	}
}

// through says whether a right entity can have been in this state.
func (m *model) through(key string, a Account) bool {
	for origin, is := range a.Chains {
		chain := m.chains[key][origin]
		if is.Count >= len(chain) || chain[is.Count] != is {
			return false
		}
	}
	return a.sum() == a.Count
}

// before says whether b can be a later state of a.
func (a *Account) before(b Account) bool {
	for origin, c := range a.Chains {
		if b.Chains[origin].Count < c.Count {
			return false
		}
	}
	return true
}
