package envelope

import (
	"time"

	"github.com/nats-io/nats.go"
)

// Payload is what a typed event carries: any Go value that names its
// CloudEvents type. The name is part of the wire ("shop.order.placed.v1");
// renaming the Go type changes nothing.
type Payload interface{ EventType() string }

// Keyed is a Payload with a key: events of one key keep their order, and the
// key is the last token of their subject. An empty key means none.
type Keyed interface{ EventKey() string }

// Event is one CloudEvent with data of type T.
//
// It is a plain value, safe to copy and to read from several goroutines;
// Extensions, Delivery.Header and reference types within Data are shared
// between copies.
type Event[T any] struct {
	Attributes

	// Data is the decoded body.
	Data T

	// Delivery says how a received event reached this handler. It is zero on
	// an event that was not received.
	Delivery Delivery
}

// Raw is an event whose data are bytes, as they stand on the wire.
type Raw = Event[[]byte]

// Attributes are the context attributes of a CloudEvent 1.0. ID, Source and
// Type are required; the specversion is always "1.0".
type Attributes struct {
	ID              string    // with Source, identifies the event
	Source          string    // URI-reference of the producer
	Type            string    // dotted name of what happened
	Subject         string    // optional: what it happened to, within Source
	Time            time.Time // optional: when it happened
	DataContentType string    // optional: media type of the data
	DataSchema      string    // optional: absolute URI of the data's schema

	// Key is the partitionkey extension: the raw key of a Keyed payload.
	Key string
	// CorrelationID and CausationID are the correlationid and causationid
	// extensions: the chain the event belongs to, and the id of the event or
	// call that made the handler publish it.
	CorrelationID string
	CausationID   string

	// Extensions holds all other extension attributes, sorted by name, each
	// name once, values in the canonical string form of CloudEvents.
	Extensions []Extension
}

// Extension is one extension attribute: its name ([a-z0-9]+) and the canonical
// string form of its value.
type Extension struct{ Name, Value string }

// Extension returns the value of an extension attribute, the three that have
// fields of their own included.
func (a *Attributes) Extension(name string) (value string, ok bool) {
	switch name {
	case "partitionkey":
		return a.Key, a.Key != ""
	case "correlationid":
		return a.CorrelationID, a.CorrelationID != ""
	case "causationid":
		return a.CausationID, a.CausationID != ""
	}
	for i := range a.Extensions {
		if a.Extensions[i].Name == name {
			return a.Extensions[i].Value, true
		}
	}
	return "", false
}

// Delivery holds the facts of one delivery of an event to one handler.
type Delivery struct {
	Stream       string    // stream that holds the event
	Sequence     uint64    // its sequence there
	Subject      string    // subject under which it was stored
	Group        string    // consumer group that received it
	Subscription string    // subscription within the group
	Stored       time.Time // when the stream stored it
	Attempt      int       // run of the handler, from 1
	Redelivered  bool      // the server had delivered it before
	Replays      int       // how often it was replayed from the dead letters

	// Header is the header block as received; not to be changed. It holds what
	// is no CloudEvents attribute, such as traceparent.
	Header nats.Header
}
