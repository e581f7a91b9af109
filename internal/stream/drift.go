package stream

import (
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// Difference is one field in which a stream is not as declared.
type Difference struct {
	Field    string `json:"field"`
	Declared string `json:"declared"`
	Actual   string `json:"actual"`
}

// Drift lists the differences that matter: those that change what is stored,
// for how long, or what may be asked of the stream. Fields that Agner leaves to
// the operator (placement, description, compression, limits that are unset in
// the declaration) are not compared.
func Drift(want, have jetstream.StreamConfig) []Difference {
	var out []Difference
	diff := func(field string, w, h any) {
		if ws, hs := fmt.Sprint(w), fmt.Sprint(h); ws != hs {
			out = append(out, Difference{field, ws, hs})
		}
	}
	for _, s := range want.Subjects {
		if !slices.Contains(have.Subjects, s) {
			diff("subjects", want.Subjects, have.Subjects)
			break
		}
	}
	diff("retention", want.Retention, have.Retention)
	diff("storage", want.Storage, have.Storage)
	diff("max_age", want.MaxAge, have.MaxAge)
	diff("duplicate_window", want.Duplicates, have.Duplicates)
	diff("allow_direct", want.AllowDirect, have.AllowDirect)
	diff("allow_atomic", want.AllowAtomicPublish, have.AllowAtomicPublish)
	diff("allow_msg_schedules", want.AllowMsgSchedules, have.AllowMsgSchedules)
	diff("allow_msg_ttl", want.AllowMsgTTL, have.AllowMsgTTL)
	diff("sources", sourceNames(want), sourceNames(have))
	if want.Replicas > 0 {
		diff("replicas", want.Replicas, have.Replicas)
	}
	if have.MaxMsgsPerSubject > 0 {
		diff("max_msgs_per_subject", "unlimited", have.MaxMsgsPerSubject)
	}
	return out
}

func sourceNames(c jetstream.StreamConfig) []string {
	names := make([]string, 0, len(c.Sources))
	for _, s := range c.Sources {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}
