package publish

import (
	"slices"
	"strings"
	"time"

	"github.com/agner-go/agner/pkg/envelope"
)

// Option sets attributes of one event. A later option wins over an earlier one,
// and all win over what the event or payload says.
type Option func(*settings)

// settings is what options change.
type settings struct {
	attributes envelope.Attributes
	schedule   schedule
}

// WithID sets the id. Source and id identify the event: publishing the same
// pair again within the dedup window stores nothing and acknowledges the stored
// one with Ack.Duplicate. In a batch the nth event gets "id.n", from 1. Default:
// a new unique id.
func WithID(id string) Option {
	return func(s *settings) { s.attributes.ID = id }
}

// WithKey sets the ordering and partition key, instead of the payload's
// EventKey.
func WithKey(key string) Option {
	return func(s *settings) { s.attributes.Key = key }
}

// WithSource sets the source, instead of Config.Source.
func WithSource(source string) Option {
	return func(s *settings) { s.attributes.Source = source }
}

// WithTime sets when it happened. Default: now.
func WithTime(t time.Time) Option {
	return func(s *settings) { s.attributes.Time = t }
}

// WithSubject sets the CloudEvents subject attribute: what the event is about,
// within its source. The NATS subject always follows from type and key.
func WithSubject(subject string) Option {
	return func(s *settings) { s.attributes.Subject = subject }
}

// WithSchema sets the dataschema attribute, an absolute URI.
func WithSchema(uri string) Option {
	return func(s *settings) { s.attributes.DataSchema = uri }
}

// WithContentType sets the datacontenttype attribute, and with it the codec of
// a payload, instead of Config.ContentType.
func WithContentType(mediaType string) Option {
	return func(s *settings) { s.attributes.DataContentType = mediaType }
}

// WithCorrelation sets the correlationid attribute, instead of that of the
// handler's context.
func WithCorrelation(id string) Option {
	return func(s *settings) { s.attributes.CorrelationID = id }
}

// WithCausation sets the causationid attribute, instead of that of the
// handler's context.
func WithCausation(id string) Option {
	return func(s *settings) { s.attributes.CausationID = id }
}

// WithExtension sets an extension attribute: its name in [a-z0-9], its value in
// the canonical string form of CloudEvents.
func WithExtension(name, value string) Option {
	return func(s *settings) { s.setExtension(name, value) }
}

func (s *settings) setExtension(name, value string) {
	i, found := slices.BinarySearchFunc(s.attributes.Extensions, name, func(e envelope.Extension, n string) int {
		return strings.Compare(e.Name, n)
	})
	// The slice may be the caller's.
	exts := slices.Clone(s.attributes.Extensions)
	if found {
		exts[i].Value = value
	} else {
		exts = slices.Insert(exts, i, envelope.Extension{Name: name, Value: value})
	}
	s.attributes.Extensions = exts
}
