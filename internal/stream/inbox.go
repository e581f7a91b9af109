package stream

import (
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/subject"
)

// Names of the streams of inboxes, before their namespace.
const (
	inboxPrefix = "INBOX_"
	statePrefix = "STATE_"
)

// InboxName is the name of an inbox's mailbox.
func InboxName(ns subject.Namespace, name string) string { return ns.Stream(inboxPrefix + name) }

// StateName is the name of the stream of an inbox's state.
func StateName(ns subject.Namespace, name string) string { return ns.Stream(statePrefix + name) }

// Inbox is the mailbox of an inbox. The server's own transform puts each
// message into the partition of its key, whoever publishes it. It has no limit
// of age: owners trim it up to what they have committed.
func Inbox(ns subject.Namespace, name string, partitions int) jetstream.StreamConfig {
	s := ns.Inbox(name)
	return jetstream.StreamConfig{
		Name:        InboxName(ns, name),
		Description: "Agner: mailbox of inbox " + name,
		Subjects:    []string{s.AllMail()},
		SubjectTransform: &jetstream.SubjectTransformConfig{
			Source: s.AllMail(), Destination: s.Partitioned(partitions),
		},
		Retention: jetstream.LimitsPolicy,
		Storage:   jetstream.FileStorage,
		// A stream that sources gets no window of its own unless it is set.
		Duplicates:   DedupWindow,
		AllowDirect:  true,
		MaxConsumers: maxConsumers,
		Sources: []*jetstream.StreamSource{{
			Name: StateName(ns, name),
			// A server that has lost its place in the source begins here, and
			// owners skip what they have handled. Without a start it would
			// begin at the time of the mailbox's last message, and lose some.
			OptStartSeq: 1,
			SubjectTransforms: []jetstream.SubjectTransformConfig{
				{Source: s.AllSent(), Destination: s.Partitioned(partitions)},
				{Source: s.AllDue(), Destination: s.Partitioned(partitions)},
			},
		}},
		Metadata: metadata(),
	}
}

// State is the stream of an inbox's cursors, entities, outputs and timers. One
// message stands for each cursor and entity, by roll-up: a limit for each
// subject would eat outputs and timers.
func State(ns subject.Namespace, name string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               StateName(ns, name),
		Description:        "Agner: state of inbox " + name,
		Subjects:           []string{ns.Inbox(name).AllState()},
		Retention:          jetstream.LimitsPolicy,
		Storage:            jetstream.FileStorage,
		Duplicates:         DedupWindow,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		AllowRollup:        true,
		AllowMsgSchedules:  true,
		AllowMsgTTL:        true,
		MaxConsumers:       maxConsumers,
		Metadata:           metadata(),
	}
}
