package subject

import "strings"

// ScheduledPending is the subject of the schedule with an id, one token
// whatever the id.
func (ns Namespace) ScheduledPending(id string) string {
	return ns.prefix() + "scheduled.pending." + Token(id)
}

// ScheduledDue is the subject to which a schedule publishes the event of a
// subject: the stream of events sources it under its own.
func (ns Namespace) ScheduledDue(event string) string {
	return ns.prefix() + "scheduled.due." + strings.TrimPrefix(event, ns.prefix()+"events.")
}
