package control

import (
	"encoding/json"
	"time"
)

// Reply is the body of every reply that is no error.
type Reply struct {
	Service  string    `json:"service"`
	Instance string    `json:"instance"`
	Version  string    `json:"version"`
	Verb     string    `json:"verb"`
	Time     time.Time `json:"time"`
	// Truncated says that Data would have exceeded the server's limit, or
	// 1 MiB, and was cut; Omitted is how much of it is missing: handlers,
	// children or bytes.
	Truncated bool            `json:"truncated,omitempty"`
	Omitted   int             `json:"omitted,omitempty"`
	Data      json.RawMessage `json:"data"`
}

// InFlightRequest says which handlers are asked for. The zero value means all,
// without their stacks.
type InFlightRequest struct {
	Stacks  bool  `json:"stacks,omitempty"`
	OlderMS int64 `json:"older_ms,omitempty"` // only those that have run for longer
	Limit   int   `json:"limit,omitempty"`    // the oldest so many; 0 means all
}

// Goroutines is a dump of all goroutines of the process.
type Goroutines struct {
	Count int    `json:"count"`
	Dump  string `json:"dump"`
}

// LogLevel is the level of the process's log, as slog writes it: "INFO",
// "DEBUG-2".
type LogLevel struct {
	Level string `json:"level"`
}

// Act leads every request of an admin verb.
type Act struct {
	// By is who acts. Required: an act without a name is refused. It is what
	// the asking tool says; who may ask at all is the server's to decide.
	By  string `json:"by"`
	Why string `json:"why,omitempty"`
	// DryRun checks the request and tells what it would do.
	DryRun bool `json:"dry_run,omitempty"`
}

// DrainRequest stops the service: its Run drains and returns.
type DrainRequest struct{ Act }

// PauseRequest stops the delivery of events, at all instances of the group.
type PauseRequest struct {
	Act
	Subscription string `json:"subscription,omitempty"` // empty means all
	ForMS        int64  `json:"for_ms"`                 // required
}

// ResumeRequest ends a pause.
type ResumeRequest struct {
	Act
	Subscription string `json:"subscription,omitempty"` // empty means all
}

// RestartRequest restarts a child of the supervision tree.
type RestartRequest struct {
	Act
	Child string `json:"child"` // path below the service: "calls/quote", "events/charge", "cache"
}

// LogLevelRequest sets the level of the process's log.
type LogLevelRequest struct {
	Act
	Level string `json:"level"`
}

// ConcurrencyRequest sets how many handlers of a subscription run at once.
type ConcurrencyRequest struct {
	Act
	Subscription string `json:"subscription"`
	Concurrency  int    `json:"concurrency"`
}

// RateRequest sets how many handlers of a subscription begin each second; 0
// means no bound.
type RateRequest struct {
	Act
	Subscription string  `json:"subscription"`
	PerSecond    float64 `json:"per_second"`
}

// Done is the data of a reply to an admin verb.
type Done struct {
	Verb    string   `json:"verb"`
	Targets []string `json:"targets"`           // what it concerned: subscriptions, a child, the instance
	Detail  string   `json:"detail,omitempty"`  // "until 2026-08-20T12:00:00Z"
	DryRun  bool     `json:"dry_run,omitempty"` // nothing was done
}
