package stream

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Difference is one field in which a stream is not as declared.
type Difference struct {
	Field    string `json:"field"`
	Declared string `json:"declared"`
	Actual   string `json:"actual"`
}

// Drift lists the differences that matter: those that change what is stored,
// for how long, or what may be asked of the stream. What bears on durability is
// listed by Durability.Lacks instead. Drift leaves to the operator
// what the declaration leaves open (placement, description, compression, and
// limits of size where only old events go by them), and more subjects, sources,
// replicas or consumers than declared.
func Drift(want, have jetstream.StreamConfig) []Difference {
	var out []Difference
	diff := func(field string, w, h any) {
		if ws, hs := fmt.Sprint(w), fmt.Sprint(h); ws != hs {
			out = append(out, Difference{field, ws, hs})
		}
	}
	if lacks(want.Subjects, have.Subjects) {
		diff("subjects", want.Subjects, have.Subjects)
	}
	if w, h := sources(want), sources(have); lacks(w, h) {
		diff("sources", w, h)
	}
	diff("subject_transform", transform(want), transform(have))
	diff("retention", want.Retention, have.Retention)
	diff("max_age", want.MaxAge, have.MaxAge)
	diff("duplicate_window", want.Duplicates, have.Duplicates)
	diff("allow_direct", want.AllowDirect, have.AllowDirect)
	diff("allow_atomic", want.AllowAtomicPublish, have.AllowAtomicPublish)
	diff("allow_msg_schedules", want.AllowMsgSchedules, have.AllowMsgSchedules)
	diff("allow_msg_ttl", want.AllowMsgTTL, have.AllowMsgTTL)
	diff("subject_delete_marker_ttl", want.SubjectDeleteMarkerTTL, have.SubjectDeleteMarkerTTL)
	if want.AllowRollup {
		diff("allow_rollup_hdrs", want.AllowRollup, have.AllowRollup)
	}
	diff("no_ack", want.NoAck, have.NoAck)
	if have.Replicas < want.Replicas {
		diff("replicas", want.Replicas, have.Replicas)
	}
	// A limit for each subject eats events of one key.
	diff("max_msgs_per_subject", limit(want.MaxMsgsPerSubject), limit(have.MaxMsgsPerSubject))
	if have.MaxConsumers > 0 && have.MaxConsumers < want.MaxConsumers {
		diff("max_consumers", want.MaxConsumers, have.MaxConsumers)
	}
	if want.AllowMsgSchedules {
		// Limits drop pending schedules without a word.
		diff("max_msgs", limit(want.MaxMsgs), limit(have.MaxMsgs))
		diff("max_bytes", limit(want.MaxBytes), limit(have.MaxBytes))
	}
	return out
}

// transform names what a stream does to the subjects that are published to it.
func transform(c jetstream.StreamConfig) string {
	if c.SubjectTransform == nil {
		return "none"
	}
	return c.SubjectTransform.Source + " as " + c.SubjectTransform.Destination
}

// lacks tells whether have misses any of want.
func lacks(want, have []string) bool {
	return slices.ContainsFunc(want, func(s string) bool { return !slices.Contains(have, s) })
}

// limit names a limit; the server writes -1 for none, a declaration 0.
func limit(n int64) string {
	if n <= 0 {
		return "unlimited"
	}
	return strconv.FormatInt(n, 10)
}

// sources names each source with what it takes and where it puts it: the
// server treats another transform as another source.
func sources(c jetstream.StreamConfig) []string {
	names := make([]string, 0, len(c.Sources))
	for _, s := range c.Sources {
		names = append(names, sourceName(s))
	}
	slices.Sort(names)
	return names
}

func sourceName(s *jetstream.StreamSource) string {
	parts := []string{s.Name, s.FilterSubject}
	for _, t := range s.SubjectTransforms {
		parts = append(parts, t.Source+" as "+t.Destination)
	}
	return strings.Join(parts, " ")
}

// Taken lists in what a durable is another one than want, of the same name: it
// belongs to somebody else, or the subscription now means another type. Such a
// durable is never used nor updated.
func Taken(want, have jetstream.ConsumerConfig) []Difference {
	filter := have.FilterSubject
	if len(have.FilterSubjects) > 0 {
		filter = strings.Join(have.FilterSubjects, ", ")
	}
	deliver := "pull"
	if have.DeliverSubject != "" {
		deliver = have.DeliverSubject
	}
	return differing(
		Difference{"filter", want.FilterSubject, filter},
		Difference{"group", want.Metadata[MetaGroup], have.Metadata[MetaGroup]},
		Difference{"subscription", want.Metadata[MetaSubscription], have.Metadata[MetaSubscription]},
		Difference{"type", want.Metadata[MetaType], have.Metadata[MetaType]},
		Difference{"ack_policy", want.AckPolicy.String(), have.AckPolicy.String()},
		Difference{"deliver_subject", "pull", deliver},
	)
}

// DriftDurable lists the settings in which a durable is not as declared. Where
// it starts is none: that was settled when it was made.
func DriftDurable(want, have jetstream.ConsumerConfig) []Difference {
	return differing(
		Difference{"ack_wait", want.AckWait.String(), have.AckWait.String()},
		Difference{"max_deliver", strconv.Itoa(want.MaxDeliver), strconv.Itoa(have.MaxDeliver)},
		Difference{"max_ack_pending", strconv.Itoa(want.MaxAckPending), strconv.Itoa(have.MaxAckPending)},
	)
}

func differing(all ...Difference) []Difference {
	return slices.DeleteFunc(all, func(d Difference) bool { return d.Declared == d.Actual })
}
