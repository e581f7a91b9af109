package subject

import (
	"strconv"
	"strings"
)

// Inbox holds the subjects of one inbox: those of its mailbox, of its state
// and of the markers of its relay.
type Inbox struct {
	mail, state, relay string
}

// Inbox returns the subjects of the inbox called name.
func (ns Namespace) Inbox(name string) Inbox {
	return Inbox{
		mail:  ns.prefix() + "inbox." + name + ".",
		state: ns.prefix() + "state." + name + ".",
		relay: ns.prefix() + "relay." + name + ".",
	}
}

// entityRoom keeps every subject that ends with a key token within MaxLen,
// the longest being that of a named timer.
const entityRoom = MaxLen / 2

// EntityToken is the token of an entity's key in all subjects of an inbox.
func EntityToken(key string) string { return Key(key, entityRoom) }

// Mail is where a message for an entity is published; the server puts the
// partition in.
func (i Inbox) Mail(token string) string { return i.mail + token }

// AllMail is the filter of what is published to the mailbox.
func (i Inbox) AllMail() string { return i.mail + "*" }

// Partitioned is the destination of the server's transform, whose source has
// one wildcard: the key token.
func (i Inbox) Partitioned(partitions int) string {
	return i.mail + "{{partition(" + strconv.Itoa(partitions) + ",1)}}.{{wildcard(1)}}"
}

// PartitionMail is the filter of the messages of one partition as stored.
func (i Inbox) PartitionMail(partition int) string {
	return i.mail + strconv.Itoa(partition) + ".*"
}

// ParseMail splits the subject of a stored message into partition and key
// token.
func (i Inbox) ParseMail(subj string) (partition int, token string, ok bool) {
	rest, ok := strings.CutPrefix(subj, i.mail)
	if !ok {
		return 0, "", false
	}
	number, token, ok := strings.Cut(rest, ".")
	if !ok || token == "" || strings.Contains(token, ".") {
		return 0, "", false
	}
	partition, err := strconv.Atoi(number)
	return partition, token, err == nil
}

// Cursor is the subject of a partition's cursor.
func (i Inbox) Cursor(partition int) string { return i.state + "cur." + strconv.Itoa(partition) }

// Cursors is the filter of all cursors.
func (i Inbox) Cursors() string { return i.state + "cur.*" }

// Entity is the subject of an entity's state, and Entities the filter of all.
func (i Inbox) Entity(token string) string { return i.state + "ent." + token }

// Entities is the filter of all states.
func (i Inbox) Entities() string { return i.state + "ent.*" }

// EntityOf is the inverse of Entity.
func (i Inbox) EntityOf(subj string) (token string, ok bool) {
	return strings.CutPrefix(subj, i.state+"ent.")
}

// Out is the subject of an output of a partition: rest is that of the event
// that it becomes, without its namespace and its first token.
func (i Inbox) Out(partition int, rest string) string {
	return i.state + "out." + strconv.Itoa(partition) + "." + rest
}

// Outs is the filter of the outputs of one partition.
func (i Inbox) Outs(partition int) string { return i.state + "out." + strconv.Itoa(partition) + ".>" }

// OutRest is the inverse of Out.
func (i Inbox) OutRest(partition int, subj string) (rest string, ok bool) {
	return strings.CutPrefix(subj, i.state+"out."+strconv.Itoa(partition)+".")
}

// Sent is the subject of a message from one entity to another, before the
// mailbox sources it.
func (i Inbox) Sent(token string) string { return i.state + "send." + token }

// AllSent and AllDue are the filters of what the mailbox sources from the
// state: messages between entities, and timers that have fired.
func (i Inbox) AllSent() string { return i.state + "send.*" }

// AllDue is the filter of timers that have fired.
func (i Inbox) AllDue() string { return i.state + "due.*" }

// AllState is the subject space of the state.
func (i Inbox) AllState() string { return i.state + ">" }

// Relay is the subject of a partition's marker in the stream of events.
func (i Inbox) Relay(partition int) string { return i.relay + strconv.Itoa(partition) }
