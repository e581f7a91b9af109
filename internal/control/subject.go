package control

import (
	"strings"

	"github.com/agner-go/agner/internal/subject"
)

// Access sets what only looks apart from what acts.
type Access string

// The two kinds of verbs, as they stand in subjects.
const (
	Read  Access = "read"
	Admin Access = "admin"
)

// All stands for each instance, or each service, in the subjects of read verbs.
const All = "all"

// Verbs of [Read].
const (
	VerbReady      = "ready"      // service.Readiness
	VerbStatus     = "status"     // service.Status without its tree
	VerbTree       = "tree"       // supervise.Status
	VerbInFlight   = "inflight"   // []service.InFlight, of an InFlightRequest
	VerbGoroutines = "goroutines" // Goroutines
	VerbLogLevel   = "loglevel"   // LogLevel; of [Admin] with a LogLevelRequest
)

// Verbs of [Admin], and VerbLogLevel.
const (
	VerbDrain       = "drain"
	VerbPause       = "pause"
	VerbResume      = "resume"
	VerbRestart     = "restart"
	VerbConcurrency = "concurrency"
	VerbRate        = "rate"
)

// Verbs lists those of an access.
func Verbs(a Access) []string {
	if a == Admin {
		return []string{VerbConcurrency, VerbDrain, VerbLogLevel, VerbPause, VerbRate, VerbRestart, VerbResume}
	}
	return []string{VerbGoroutines, VerbInFlight, VerbLogLevel, VerbReady, VerbStatus, VerbTree}
}

// Subject is where a verb is asked: `agner.<access>.<service>.<instance>.<verb>`
// within ns. A verb of "*" is what an instance subscribes to.
func Subject(ns subject.Namespace, a Access, service, instance, verb string) string {
	return ns.Subject("agner." + string(a) + "." + service + "." + instance + "." + verb)
}

// Verb is the last token of a subject.
func Verb(subj string) string { return subj[strings.LastIndexByte(subj, '.')+1:] }
