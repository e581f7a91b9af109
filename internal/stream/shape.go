package stream

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/subject"
)

// Names of the streams, before their namespace.
const (
	EventsName    = "EVENTS"
	DeadName      = "DEAD"
	ScheduledName = "SCHEDULED"
	retryPrefix   = "RETRY_"
)

// Retention of each stream, docs/design/streams.md says why.
const (
	EventsMaxAge = 7 * 24 * time.Hour
	DeadMaxAge   = 30 * 24 * time.Hour
)

// DedupWindow is the time within which the server drops a message id that it
// has seen. RetryDedupWindow is the lane's: longer, because a replay or a retry
// may be sent again by a process that was away.
const (
	DedupWindow      = 2 * time.Minute
	RetryDedupWindow = time.Hour
)

// maxConsumers lifts the server's default of 1,000 consumers a stream, which
// counts watchers and ordered consumers too.
const maxConsumers = 10_000

// Metadata that Agner writes on what it makes.
const (
	// MetaGeneration numbers the shape: a program never changes a stream of a
	// later generation than its own.
	MetaGeneration = "agner.generation"
	generation     = "1"
)

// Events is the stream of all events, and of the relay markers of inboxes.
// Scheduled events that are due flow in by the server's own sourcing.
func Events(ns subject.Namespace) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        ns.Stream(EventsName),
		Description: "Agner: domain events",
		Subjects:    []string{ns.Subject("events.>"), ns.Subject("relay.>")},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		MaxAge:      EventsMaxAge,
		// A stream that sources gets no window of its own unless it is set.
		Duplicates:         DedupWindow,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		MaxConsumers:       maxConsumers,
		Sources: []*jetstream.StreamSource{{
			Name: ns.Stream(ScheduledName),
			SubjectTransforms: []jetstream.SubjectTransformConfig{{
				Source:      ns.Subject("scheduled.due.>"),
				Destination: ns.Subject("events.>"),
			}},
		}},
		Metadata: metadata(),
	}
}

// Dead is the stream of dead letters of all groups. Limits and direct access
// let every tool browse it.
func Dead(ns subject.Namespace) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:         ns.Stream(DeadName),
		Description:  "Agner: dead letters",
		Subjects:     []string{ns.Subject("dead.>")},
		Retention:    jetstream.LimitsPolicy,
		Storage:      jetstream.FileStorage,
		MaxAge:       DeadMaxAge,
		Duplicates:   DedupWindow,
		AllowDirect:  true,
		MaxConsumers: maxConsumers,
		Metadata:     metadata(),
	}
}

// Scheduled is the stream of schedules. It has no limit of age, count or size:
// the server drops pending schedules at a limit without a word. Message TTLs
// are on so that a fired copy goes by itself once EVENTS has sourced it.
func Scheduled(ns subject.Namespace) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              ns.Stream(ScheduledName),
		Description:       "Agner: events to be published later",
		Subjects:          []string{ns.Subject("scheduled.>")},
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Duplicates:        DedupWindow,
		AllowDirect:       true,
		AllowMsgSchedules: true,
		AllowMsgTTL:       true,
		AllowRollup:       true,
		MaxConsumers:      maxConsumers,
		Metadata:          metadata(),
	}
}

// Retry is a group's retry lane. A work queue keeps each retry until it is
// acknowledged, so the lane's durables need no saved position.
func Retry(ns subject.Namespace, group string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              RetryName(ns, group),
		Description:       "Agner: retries of group " + group,
		Subjects:          []string{ns.Subject("retry." + group + ".>")},
		Retention:         jetstream.WorkQueuePolicy,
		Storage:           jetstream.FileStorage,
		Duplicates:        RetryDedupWindow,
		AllowDirect:       true,
		AllowMsgSchedules: true,
		AllowRollup:       true,
		MaxConsumers:      maxConsumers,
		Metadata:          metadata(),
	}
}

// RetryName is the name of a group's retry lane.
func RetryName(ns subject.Namespace, group string) string {
	return ns.Stream(retryPrefix + group)
}

// PositionsName is the bucket of durables' positions, before its namespace.
const PositionsName = "AGNER_POSITIONS"

// Positions is the bucket in which groups keep how far their durables have
// come, so that one that vanishes can be made again there.
func Positions(ns subject.Namespace) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket:      ns.Stream(PositionsName),
		Description: "Agner: acknowledgement floors of durables",
		History:     1,
		Storage:     jetstream.FileStorage,
		Metadata:    metadata(),
	}
}

func metadata() map[string]string { return map[string]string{MetaGeneration: generation} }
