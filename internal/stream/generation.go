package stream

import (
	"maps"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
)

// GenerationOf reads the generation that metadata name; without one it is 0.
func GenerationOf(metadata map[string]string) uint64 {
	g, _ := strconv.ParseUint(metadata[MetaGeneration], 10, 64) // what is no number is as old as can be
	return g
}

// Made tells whether Agner made a stream with that metadata.
func Made(metadata map[string]string) bool {
	_, ok := metadata[MetaGeneration]
	return ok
}

// Raise returns have with what want adds to it, and what that changes. Nothing
// that it does costs an event: it adds subjects and sources, lengthens times,
// raises bounds, switches on. What differs beyond that stays, and is for Drift
// to tell.
//
// A stream that Agner did not make, or that has a later generation than want,
// is left as it is. One of the same generation gets no more than the replicas
// and the durability that are asked for; only a later generation changes the
// rest. most is how many replicas there can be.
func Raise(want, have jetstream.StreamConfig, most int) (next jetstream.StreamConfig, changes []Difference) {
	next = have
	to, from := GenerationOf(want.Metadata), GenerationOf(have.Metadata)
	if !Made(have.Metadata) || from > to {
		return next, nil
	}
	r := raiser{&next, nil}
	next.Metadata = maps.Clone(have.Metadata)
	if d, ok := Declared(want.Metadata); ok {
		recorded, known := Declared(have.Metadata)
		if !known || !recorded.Covers(d) {
			r.meta(MetaDurability, d.String())
		}
		if d == PowerSafe {
			want.Replicas = max(want.Replicas, powerSafeReplicas)
		}
	}
	if n := min(want.Replicas, most); n > have.Replicas {
		r.changed("replicas", strconv.Itoa(n), strconv.Itoa(have.Replicas))
		next.Replicas = n
	}
	if to > from {
		r.shape(want)
		r.meta(MetaGeneration, want.Metadata[MetaGeneration])
	}
	return next, r.changes
}

// raiser changes a configuration and takes notes.
type raiser struct {
	c       *jetstream.StreamConfig
	changes []Difference
}

func (r *raiser) changed(field, to, from string) {
	r.changes = append(r.changes, Difference{field, to, from})
}

func (r *raiser) meta(key, value string) {
	r.changed(key, value, r.c.Metadata[key])
	r.c.Metadata[key] = value
}

// shape adds what a later generation has.
func (r *raiser) shape(want jetstream.StreamConfig) {
	before := *r.c
	for _, s := range want.Subjects {
		if !slices.Contains(r.c.Subjects, s) {
			r.c.Subjects = append(slices.Clone(r.c.Subjects), s)
		}
	}
	for _, s := range want.Sources {
		if !slices.ContainsFunc(r.c.Sources, func(have *jetstream.StreamSource) bool { return SameSource(s, have) }) {
			r.c.Sources = append(slices.Clone(r.c.Sources), s)
		}
	}
	if before.MaxConsumers > 0 && (want.MaxConsumers <= 0 || want.MaxConsumers > before.MaxConsumers) {
		r.c.MaxConsumers = want.MaxConsumers
	}
	if before.MaxAge > 0 && (want.MaxAge <= 0 || want.MaxAge > before.MaxAge) {
		r.c.MaxAge = want.MaxAge
	}
	r.c.Duplicates = max(before.Duplicates, want.Duplicates)
	r.c.AllowDirect = before.AllowDirect || want.AllowDirect
	r.c.AllowAtomicPublish = before.AllowAtomicPublish || want.AllowAtomicPublish
	r.c.AllowMsgSchedules = before.AllowMsgSchedules || want.AllowMsgSchedules
	r.c.AllowMsgTTL = before.AllowMsgTTL || want.AllowMsgTTL
	r.c.AllowRollup = before.AllowRollup || want.AllowRollup
	if before.SubjectDeleteMarkerTTL == 0 {
		r.c.SubjectDeleteMarkerTTL = want.SubjectDeleteMarkerTTL
	}
	r.changes = append(r.changes, Drift(*r.c, before)...)
}

// SameSource tells whether two sources take the same and put it to the same
// place: only then does the server treat them as one.
func SameSource(a, b *jetstream.StreamSource) bool { return sourceName(a) == sourceName(b) }
