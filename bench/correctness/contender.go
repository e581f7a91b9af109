package main

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"
)

// contender is a library in one configuration.
type contender interface {
	Name() string

	// Layout says where it reads and where its dead letters go.
	Layout() layout

	// Deploy makes, before the first instance starts, what its configuration
	// leaves to a deployer.
	Deploy(ctx context.Context, js jetstream.JetStream, p plan) error

	// Work is an instance: it gives events to handle until ctx ends, and then
	// closes as its documentation says. It calls ready once it receives.
	Work(ctx context.Context, t task, handle handleFunc, log *slog.Logger, ready func()) error
}

// layout is where things are on the server.
type layout struct {
	stream  string
	subject func(key string) string
	durable string
	lane    string // stream that also holds unsettled events of the group, or ""
	dead    string // stream of dead letters, or ""
}

// group is the consumer group's name, whatever a contender makes of it.
const group = "billing"

func contenders() []contender {
	return []contender{agner{}, documented{}, push{}, pull{}}
}
