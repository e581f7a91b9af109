package stream

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/subject"
)

// FleetName is the stream of the fleet log, before its namespace.
const FleetName = "AGNER_FLEET"

// FleetMaxAge is how long the fleet log is kept.
const FleetMaxAge = 7 * 24 * time.Hour

// FleetDedupWindow is longer than [MarkerTTL]: whoever reports an instance that
// is gone finds it as long as its marker stands, and others report it too.
const FleetDedupWindow = 2 * MarkerTTL

// Fleet is the stream of what has happened to the fleet itself.
func Fleet(ns subject.Namespace) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:         ns.Stream(FleetName),
		Description:  "Agner: fleet log",
		Subjects:     []string{ns.Subject("fleet.>")},
		Retention:    jetstream.LimitsPolicy,
		Storage:      jetstream.FileStorage,
		MaxAge:       FleetMaxAge,
		Duplicates:   FleetDedupWindow,
		AllowDirect:  true,
		MaxConsumers: maxConsumers,
		Metadata:     metadata(),
	}
}
