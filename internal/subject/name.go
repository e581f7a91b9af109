package subject

import (
	"errors"
	"fmt"
	"strings"
)

// ErrName reports a name that is not of the form Agner gives to groups,
// subscriptions, services, endpoints, instances and namespaces.
var ErrName = errors.New("name is not valid")

// MaxNameLen bounds one name; a durable of two of them stays well below the
// 255 bytes that the server and file systems take.
const MaxNameLen = 100

// CheckName accepts lower-case letters, digits and '-', 1 to MaxNameLen bytes.
// One small alphabet for all names keeps '_' free as the separator within a
// durable's name and '.' within a subject. The error names what, the kind of
// the name.
func CheckName(what, name string) error {
	if name == "" {
		return fmt.Errorf("%s is empty: use a-z, 0-9 and '-': %w", what, ErrName)
	}
	if len(name) > MaxNameLen {
		return fmt.Errorf("%s %.20q… has %d bytes, at most %d are allowed: %w", what, name, len(name), MaxNameLen, ErrName)
	}
	for i := range len(name) {
		c := name[i]
		if ('a' > c || c > 'z') && ('0' > c || c > '9') && c != '-' {
			return fmt.Errorf("%s %q holds %q: use a-z, 0-9 and '-' only: %w", what, name, c, ErrName)
		}
	}
	return nil
}

// Subscription gives the default name of a subscription: the type with '-' for
// '.'. It is valid only if CheckName says so.
func Subscription(typ string) string { return strings.ReplaceAll(typ, ".", "-") }

// Durable is the name of a subscription's durable consumer.
func Durable(group, subscription string) string { return group + "_" + subscription }

// Namespace sets the subjects, streams and buckets of one environment apart
// from those of another in the same account: "staging" leads every subject as
// `staging.` and every stream or bucket as `staging_`. The empty one adds
// nothing.
type Namespace string

// Check validates a namespace: empty, or a name.
func (ns Namespace) Check() error {
	if ns == "" {
		return nil
	}
	return CheckName("namespace", string(ns))
}

func (ns Namespace) prefix() string {
	if ns == "" {
		return ""
	}
	return string(ns) + "."
}

// Subject puts a subject into the namespace.
func (ns Namespace) Subject(s string) string { return ns.prefix() + s }

// Stream puts the name of a stream or bucket into the namespace.
func (ns Namespace) Stream(name string) string {
	if ns == "" {
		return name
	}
	return string(ns) + "_" + name
}

// RetryWait is the subject of the schedule that brings back the event of a
// stream sequence to one subscription.
func (ns Namespace) RetryWait(group, subscription string, seq uint64) string {
	return ns.prefix() + fmt.Sprintf("retry.%s.wait.%s.%d", group, subscription, seq)
}

// RetryMark is the subject of the mark that an event of a stream sequence is
// run alone.
func (ns Namespace) RetryMark(group, subscription string, seq uint64) string {
	return ns.prefix() + fmt.Sprintf("retry.%s.mark.%s.%d", group, subscription, seq)
}

// RetryDue is the subject on which a retry, or a replayed dead letter, reaches
// one subscription. keyToken is the last token of the event's subject.
func (ns Namespace) RetryDue(group, subscription, keyToken string) string {
	return ns.prefix() + "retry." + group + ".due." + subscription + "." + boundToken(keyToken)
}
