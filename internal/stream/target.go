package stream

import (
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/subject"
)

// Target is where a publisher publishes: which stream, under which subjects.
type Target struct {
	// Stream is the name of the stream.
	Stream string
	// Shapes are the streams that must be there, each after those it sources.
	Shapes []jetstream.StreamConfig
	// Subject is that of an event of a type and key.
	Subject func(typ, key string) (string, error)
}

// EventsTarget is the stream of all events.
func EventsTarget(ns subject.Namespace) Target {
	return Target{
		Stream:  ns.Stream(EventsName),
		Shapes:  []jetstream.StreamConfig{Scheduled(ns), Events(ns), Dead(ns)},
		Subject: ns.Event,
	}
}

// InboxTarget is the mailbox of an inbox, in which a message stands under the
// key of its entity.
func InboxTarget(ns subject.Namespace, name string, partitions int) Target {
	s := ns.Inbox(name)
	return Target{
		Stream:  InboxName(ns, name),
		Shapes:  []jetstream.StreamConfig{State(ns, name), Inbox(ns, name, partitions)},
		Subject: func(_, key string) (string, error) { return s.Mail(subject.EntityToken(key)), nil },
	}
}
