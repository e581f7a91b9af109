package inbox

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// simNode is an instance: it observes by requests that take time, get lost or
// arrive late, asks decide what to do, and moves cursors by their own functions.
type simNode struct {
	w      *simWorld
	id     string
	dead   bool
	paused time.Duration // until when it stands still
	cut    time.Duration // until when the network takes nothing of it

	leaving  bool
	runs     map[int]*simRun
	claiming map[int]bool
	shuns    map[int]time.Duration

	members []member
	takers  string
	changed time.Duration
	free    map[int]time.Duration
}

// simRun is a partition under a claim.
type simRun struct {
	part   int
	at     cursor
	seq    uint64 // of the cursor as stored
	halted bool
	flying *simCommit
}

type simCommit struct {
	next    cursor
	base    uint64
	effects []simMail
}

func (n *simNode) end() {
	n.dead = true
	n.w.nodes = slices.DeleteFunc(n.w.nodes, func(o *simNode) bool { return o == n })
}

// leave begins an orderly stop.
func (n *simNode) leave() {
	n.leaving = true
	for _, r := range n.runs {
		r.halted = true
	}
}

// hang lets go of a partition whose handler does not come back: without a last
// commit.
func (n *simNode) hang() {
	for p := range simPartitions {
		if n.runs[p] != nil {
			n.shuns[p] = n.w.now + 10*time.Second
			delete(n.runs, p)
			return
		}
	}
}

func (n *simNode) value() member {
	m := member{id: n.id, owns: map[int]uint64{}, leaving: n.leaving, shuns: map[int]bool{}}
	for p, r := range n.runs {
		m.owns[p] = r.at.Epoch
	}
	for p, until := range n.shuns {
		if n.w.now < until {
			m.shuns[p] = true
		}
	}
	return m
}

// tick renews the lease and looks at the others'.
func (n *simNode) tick() {
	w := n.w
	if n.leaving && len(n.runs) == 0 && len(n.claiming) == 0 {
		delete(w.leases, n.id)
		n.end()
		return
	}
	value := n.value()
	var members []member
	w.ask(n, func() {
		if !n.dead {
			w.leases[n.id] = &simLease{value, w.now + simTTL}
		}
		members = w.live()
	}, func() { n.see(members) })
	w.after(n, lookEvery, n.tick)
}

// see notes what has changed and acts, as the owner of an inbox does.
func (n *simNode) see(members []member) {
	w := n.w
	var takers strings.Builder
	for i := range members {
		if members[i].id == n.id {
			members[i] = n.value()
		}
		if !members[i].leaving {
			fmt.Fprintf(&takers, "%s %v,", members[i].id, slices.Sorted(maps.Keys(members[i].shuns)))
		}
	}
	if s := takers.String(); s != n.takers {
		n.takers, n.changed = s, w.now
	}
	n.members = members
	owners, _ := ownersOf(members)
	for p := range simPartitions {
		if _, owned := owners[p]; owned {
			delete(n.free, p)
		} else if _, free := n.free[p]; !free {
			n.free[p] = w.now
		}
	}
	for _, a := range decide(view{
		now: w.now, self: n.id, partitions: simPartitions, members: members, changed: n.changed,
		free: n.free, settle: DefaultSettle, patience: patience,
	}) {
		switch r := n.runs[a.partition]; {
		case a.kind == releasePartition && r != nil:
			r.halted = true
		case a.kind == claimPartition && r == nil && !n.claiming[a.partition] && !n.leaving:
			n.claim(a.partition)
		}
	}
}

// claim reads the cursor and moves it to the next epoch.
func (n *simNode) claim(p int) {
	w := n.w
	n.claiming[p] = true
	w.after(n, requestTimeout, func() { delete(n.claiming, p) }) // if no answer comes
	since, free := n.free[p]
	if !free {
		since = w.now
	}
	members := n.members
	var before cursor
	var seq uint64
	w.ask(n, func() { before, seq = w.parts[p].cursor.clone(), w.parts[p].seq }, func() {
		if before.Owner != "" && before.Owner != n.id && memberOf(members, before.Owner).id != "" && w.now-since < time.Second {
			delete(n.claiming, p)
			return
		}
		next := before.claimed(n.id, 1)
		var claimed uint64
		var ok bool
		w.ask(n, func() { claimed, ok = w.put(p, next, seq, before.Position, nil) }, func() {
			delete(n.claiming, p)
			if !ok || n.runs[p] != nil {
				return
			}
			r := &simRun{part: p, at: next, seq: claimed, halted: n.leaving}
			n.runs[p] = r
			w.after(n, 0, func() { n.work(r) })
		})
	})
}

// work handles some messages and commits, over and over until the run is over.
func (n *simNode) work(r *simRun) {
	w := n.w
	if n.runs[r.part] != r {
		return
	}
	if r.flying == nil {
		c := &simCommit{base: r.at.Position}
		if !r.halted {
			for _, m := range w.parts[r.part].after(r.at.Position, 1+w.rand.IntN(20)) {
				if !r.at.passed(m.origin, m.originSeq) {
					c.effects = append(c.effects, m)
				}
				r.at.advance(m.seq, m.origin, m.originSeq)
			}
		}
		c.next = r.at.clone()
		if r.halted {
			c.next.Owner = ""
		}
		if r.halted || r.at.Position > c.base {
			r.flying = c
			n.send(r, c)
		}
	}
	w.after(n, w.between(50*time.Millisecond, 400*time.Millisecond), func() { n.work(r) })
}

// after are the next messages behind a position.
func (p *simPartition) after(position uint64, most int) []simMail {
	i, _ := slices.BinarySearchFunc(p.mailbox, position+1, func(m simMail, seq uint64) int { return int(m.seq) - int(seq) })
	return p.mailbox[i:min(len(p.mailbox), i+most)]
}

// send sends a commit, again and again until it is known what became of it.
func (n *simNode) send(r *simRun, c *simCommit) {
	w := n.w
	if r.flying != c || n.runs[r.part] != r {
		return
	}
	var seq uint64
	var ok bool
	expected := r.seq
	w.ask(n, func() { seq, ok = w.put(r.part, c.next, expected, c.base, c.effects) }, func() {
		switch {
		case r.flying != c || n.runs[r.part] != r:
		case ok:
			n.landed(r, c, seq)
		default:
			n.inspect(r, c)
		}
	})
	w.after(n, time.Second, func() { n.send(r, c) })
}

func (n *simNode) landed(r *simRun, c *simCommit, seq uint64) {
	r.seq, r.flying = seq, nil
	if c.next.Owner == "" {
		delete(n.runs, r.part)
	}
}

// inspect finds out, after a refusal, whether the commit is stored by an attempt
// whose answer was lost, or another owns the partition.
func (n *simNode) inspect(r *simRun, c *simCommit) {
	w := n.w
	var now cursor
	var seq uint64
	w.ask(n, func() { now, seq = w.parts[r.part].cursor.clone(), w.parts[r.part].seq }, func() {
		switch {
		case r.flying != c || n.runs[r.part] != r:
		case seq == r.seq: // refused for another reason: sent again
		case now.same(c.next):
			w.resolved++
			n.landed(r, c, seq)
		default:
			w.fenced++
			delete(n.runs, r.part)
		}
	})
}
