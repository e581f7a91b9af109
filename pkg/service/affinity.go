package service

import "sync/atomic"

// Affinity remembers which instance of a service answered last, for [ToSame]:
// an instance that keeps something in memory for this caller, such as a cursor
// or a cache. It is a preference, not a place where state is safe: a restart of
// the instance moves the caller. State that must survive is an inbox's
// (package inbox).
//
// The zero value remembers none. An Affinity belongs to the calls of one
// service; a call to another one starts it anew. It is safe for concurrent use;
// of calls that run side by side the last answer is remembered.
type Affinity struct{ last atomic.Pointer[answerer] }

// answerer is an instance as an [Affinity] knows it.
type answerer struct{ service, instance string }

// Instance is the instance that answered last, empty if none did, or if the
// service does not say who it is (only Agner's do).
func (a *Affinity) Instance() string {
	if p := a.last.Load(); p != nil {
		return p.instance
	}
	return ""
}

// Forget has the next call go to any instance.
func (a *Affinity) Forget() { a.last.Store(nil) }

// of is the instance remembered for a service.
func (a *Affinity) of(service string) string {
	if p := a.last.Load(); p != nil && p.service == service {
		return p.instance
	}
	return ""
}

// remember takes the name that a reply gives. It becomes a token of a subject:
// what is no name of an instance is nobody.
func (a *Affinity) remember(service, instance string) {
	if a.of(service) == instance || checkToken("instance", instance) != nil {
		return
	}
	a.last.Store(&answerer{service, instance})
}
