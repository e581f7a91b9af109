package inbox

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strconv"
	"time"
)

// This file decides who owns what. It is pure: values in, decisions out, no
// clock and no server, so that a simulation can drive it.

// member is one live instance as its lease shows it.
type member struct {
	id string
	// owns maps each partition that it runs to the epoch of its claim.
	owns map[int]uint64
	// leaving says that it hands over what it owns and takes nothing.
	leaving bool
	// shuns are partitions that it let go of because a handler hangs: others
	// are to take them.
	shuns map[int]bool
}

// view is what one instance knows when it decides.
type view struct {
	now        time.Duration // of any clock that does not jump
	self       string
	partitions int
	members    []member // the live ones, self included once its lease stands

	// changed is when the set of those that take partitions changed last.
	changed time.Duration
	// free is since when each partition has been seen without an owner; only
	// those that have none are in it.
	free map[int]time.Duration
	// settle is how long the set must stand before a partition moves between
	// two that live, or a new instance takes anything.
	settle time.Duration
	// patience is how long a partition may stay free, with each instance before
	// it in the ranking not taking it, before the next one does.
	patience time.Duration
}

type actionKind int

const (
	claimPartition actionKind = iota + 1
	releasePartition
)

// action is one decision: what this instance is to do with a partition.
type action struct {
	kind      actionKind
	partition int
}

// decide says what self is to do now. It is to be asked again whenever the view
// changes and, as time passes, every now and then.
//
//   - A partition whose target is self, and which nobody owns, is claimed.
//   - A partition of self whose target is another live instance is released once
//     the members have settled: the target claims it when it sees that.
//   - A partition that stays free although its target lives is claimed by the
//     next in its ranking, each after another span of patience.
//   - What another claims with a higher epoch is released at once.
func decide(v view) []action {
	targets := assign(v.partitions, v.members)
	owners, epochs := ownersOf(v.members)
	mine := memberOf(v.members, v.self)
	settled := v.now-v.changed >= v.settle
	var out []action
	for p := range v.partitions {
		owner, owned := owners[p]
		_, runs := mine.owns[p]
		switch {
		case runs && owner != v.self && epochs[p] > mine.owns[p]:
			out = append(out, action{releasePartition, p})
		case runs && targets[p] != v.self && targets[p] != "" && (settled || mine.leaving):
			out = append(out, action{releasePartition, p})
		case runs, owned, mine.leaving, mine.id == "", !settled && len(mine.owns) == 0:
			// Kept; or somebody's; or not for an instance that leaves, has no
			// lease yet, or has just come and waits for the others to be seen.
		case targets[p] == v.self:
			out = append(out, action{claimPartition, p})
		case v.overdue(p):
			out = append(out, action{claimPartition, p})
		}
	}
	return out
}

// overdue tells whether a partition has been free for so long that all before
// self in its ranking, its target included, had their turn.
func (v view) overdue(p int) bool {
	since, free := v.free[p]
	if !free || memberOf(v.members, v.self).shuns[p] {
		return false
	}
	turn := 1
	for _, id := range ranking(p, v.members) {
		if id == v.self {
			break
		}
		turn++
	}
	return v.now-since >= time.Duration(turn)*v.patience
}

// ownersOf gives the owner of each partition that has one. Two may show one
// partition for a moment, when a paused one comes back: the higher epoch is the
// true one.
func ownersOf(members []member) (owners map[int]string, epochs map[int]uint64) {
	owners, epochs = map[int]string{}, map[int]uint64{}
	for _, m := range members {
		for p, epoch := range m.owns {
			if _, has := owners[p]; !has || epoch > epochs[p] {
				owners[p], epochs[p] = m.id, epoch
			}
		}
	}
	return owners, epochs
}

func memberOf(members []member, id string) member {
	for _, m := range members {
		if m.id == id {
			return m
		}
	}
	return member{}
}

// assign gives each partition its target among the members that take any:
// rendezvous hashing with a bound, so that each has the fair share or one more
// or less, and every instance that sees the same members comes to the same
// answer. An empty target means that nobody can have the partition.
func assign(partitions int, members []member) []string {
	targets := make([]string, partitions)
	takers := 0
	for _, m := range members {
		if !m.leaving {
			takers++
		}
	}
	if takers == 0 {
		return targets
	}
	base, more := partitions/takers, partitions%takers
	load := make(map[string]int, takers)
	shuns := make(map[string]map[int]bool)
	for _, m := range members {
		if len(m.shuns) > 0 {
			shuns[m.id] = m.shuns
		}
	}
	for p := range partitions {
		ranked := ranking(p, members)
		for _, id := range ranked {
			if shuns[id][p] || load[id] > base || load[id] == base && more == 0 {
				continue
			}
			if load[id] == base {
				more--
			}
			load[id]++
			targets[p] = id
			break
		}
		if targets[p] == "" { // only those that shun it have room
			for _, id := range ranked {
				if !shuns[id][p] {
					targets[p] = id
					break
				}
			}
		}
	}
	return targets
}

// ranking orders the members that take partitions by their weight for p,
// highest first.
func ranking(p int, members []member) []string {
	type weighed struct {
		id     string
		weight uint64
	}
	all := make([]weighed, 0, len(members))
	for _, m := range members {
		if !m.leaving {
			all = append(all, weighed{m.id, weight(m.id, p)})
		}
	}
	slices.SortFunc(all, func(a, b weighed) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.id, b.id))
	})
	ids := make([]string, len(all))
	for i, w := range all {
		ids[i] = w.id
	}
	return ids
}

// weight is the rendezvous hash of an instance and a partition. FNV alone
// leaves neighbouring numbers alike, so its result is mixed once more
// (the finalizer of MurmurHash3).
func weight(id string, p int) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id + "/" + strconv.Itoa(p))) // a hash takes every write
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x
}
