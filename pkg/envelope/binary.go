package envelope

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
)

const headerPrefix = "ce-"

// Marshal makes a message in the binary mode of the NATS binding: the data as
// body, each attribute a header. It sets Header and Data, which is e's own
// slice, and leaves Subject to the caller, who may add headers to the map.
//
// The error is that of Attributes.Validate.
func Marshal(e *Raw) (*nats.Msg, error) {
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("envelope: marshal %s: %w", describe(&e.Attributes), err)
	}
	// One array holds all the values: a slice for each would be an allocation
	// for each. The map has room for what publishers add.
	w := headerWriter{
		header: make(nats.Header, len(e.Extensions)+maxFields+headerSpare),
		values: make([]string, 0, len(e.Extensions)+maxFields),
	}
	w.set("ce-specversion", SpecVersion)
	w.set("ce-id", e.ID)
	w.set("ce-source", e.Source)
	w.set("ce-type", e.Type)
	w.setOptional("ce-subject", e.Subject)
	if !e.Time.IsZero() {
		w.set("ce-time", formatTime(e.Time))
	}
	w.setOptional("ce-datacontenttype", e.DataContentType)
	w.setOptional("ce-dataschema", e.DataSchema)
	w.setOptional("ce-partitionkey", e.Key)
	w.setOptional("ce-correlationid", e.CorrelationID)
	w.setOptional("ce-causationid", e.CausationID)
	for i := range e.Extensions {
		w.set(headerPrefix+e.Extensions[i].Name, e.Extensions[i].Value)
	}
	return &nats.Msg{Header: w.header, Data: e.Data}, nil
}

const (
	maxFields   = 11 // attributes that have a field, and the specversion
	headerSpare = 3  // Nats-Msg-Id, traceparent, tracestate
)

type headerWriter struct {
	header nats.Header
	values []string
}

func (w *headerWriter) set(name, value string) {
	n := len(w.values)
	w.values = append(w.values, escape(value))
	w.header[name] = w.values[n : n+1 : n+1]
}

func (w *headerWriter) setOptional(name, value string) {
	if value != "" {
		w.set(name, value)
	}
}

// checkSize bounds the header block of the attributes in binary mode.
func (a *Attributes) checkSize() error {
	n := len("NATS/1.0\r\n\r\n") + headerLine(attrSpecVersion, SpecVersion)
	n += headerLine(attrID, a.ID) + headerLine(attrSource, a.Source) + headerLine(attrType, a.Type)
	n += len("ce-time: 2006-01-02T15:04:05.999999999+07:00\r\n")
	n += headerLine(attrSubject, a.Subject) + headerLine(attrDataContentType, a.DataContentType)
	n += headerLine(attrDataSchema, a.DataSchema) + headerLine(attrKey, a.Key)
	n += headerLine(attrCorrelationID, a.CorrelationID) + headerLine(attrCausationID, a.CausationID)
	for i := range a.Extensions {
		n += headerLine(a.Extensions[i].Name, a.Extensions[i].Value)
	}
	if n > MaxHeader {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed: move what is large into the data", ErrTooLarge, n, MaxHeader)
	}
	return nil
}

func headerLine(name, value string) int {
	return len(headerPrefix) + len(name) + len(": \r\n") + escapedLen(value)
}

// HeaderSize is the length, in bytes, of the header block that nats.go writes
// for h: compare it with MaxHeader after adding headers of one's own.
func HeaderSize(h nats.Header) int {
	if len(h) == 0 {
		return 0
	}
	n := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(": \r\n") + len(v)
		}
	}
	return n
}

// describe names an event in an error.
func describe(a *Attributes) string {
	return fmt.Sprintf("event %q of type %q", bounded(a.ID), bounded(a.Type))
}

// unmarshalBinary reads the attributes out of the headers.
func unmarshalBinary(msg *nats.Msg) (e Raw, err error) {
	r := headerReader{attributes: &e.Attributes}
	for name, values := range msg.Header {
		if !hasHeaderPrefix(name) || len(values) == 0 {
			continue
		}
		if err := r.read(name, values); err != nil {
			return Raw{}, err
		}
	}
	if err := r.finish(); err != nil {
		return Raw{}, err
	}
	if len(msg.Data) > 0 {
		e.Data = msg.Data
	}
	return e, nil
}

func hasHeaderPrefix(name string) bool {
	return len(name) >= 3 && name[0]|0x20 == 'c' && name[1]|0x20 == 'e' && name[2] == '-'
}

type headerReader struct {
	attributes *Attributes
	seen       fieldSet
}

func (r *headerReader) read(header string, values []string) error {
	name := strings.ToLower(header[len(headerPrefix):])
	if !isName(name) {
		return attributeError(header, ErrName, "", nil)
	}
	if len(values) > 1 {
		return attributeError(name, ErrRepeated, "", nil)
	}
	value, ok := unescape(values[0])
	if !ok {
		return attributeError(name, ErrEscape, values[0], nil)
	}
	return setAttribute(r.attributes, &r.seen, name, value)
}

func (r *headerReader) finish() error { return finishAttributes(r.attributes, r.seen) }

// fieldSet notes which of the attributes with a field were set.
type fieldSet uint16

const (
	fieldID fieldSet = 1 << iota
	fieldSource
	fieldSpecVersion
	fieldType
	fieldSubject
	fieldTime
	fieldDataContentType
	fieldDataSchema
	fieldKey
	fieldCorrelationID
	fieldCausationID
)

// setAttribute stores one attribute that was read, in either mode.
func setAttribute(a *Attributes, seen *fieldSet, name, value string) error {
	field, dst := a.field(name)
	if field == 0 {
		if a.Extensions == nil {
			a.Extensions = make([]Extension, 0, 4)
		}
		a.Extensions = append(a.Extensions, Extension{Name: name, Value: value})
		return nil
	}
	if *seen&field != 0 {
		return attributeError(name, ErrRepeated, value, nil)
	}
	*seen |= field
	if value == "" {
		return attributeError(name, ErrEmpty, "", nil)
	}
	switch field {
	case fieldSpecVersion:
		if value != SpecVersion {
			return attributeError(name, ErrSpecVersion, value, nil)
		}
	case fieldTime:
		t, ok := parseTime(value)
		if !ok {
			return attributeError(name, ErrTimestamp, value, nil)
		}
		// The zero time stands for none, here and in producers that forget
		// to set it.
		if !t.IsZero() {
			a.Time = t
		}
	default:
		*dst = value
	}
	return nil
}

// field gives the bit of an attribute that has a field, and where it goes.
func (a *Attributes) field(name string) (fieldSet, *string) {
	switch name {
	case attrID:
		return fieldID, &a.ID
	case attrSource:
		return fieldSource, &a.Source
	case attrSpecVersion:
		return fieldSpecVersion, nil
	case attrType:
		return fieldType, &a.Type
	case attrSubject:
		return fieldSubject, &a.Subject
	case attrTime:
		return fieldTime, nil
	case attrDataContentType:
		return fieldDataContentType, &a.DataContentType
	case attrDataSchema:
		return fieldDataSchema, &a.DataSchema
	case attrKey:
		return fieldKey, &a.Key
	case attrCorrelationID:
		return fieldCorrelationID, &a.CorrelationID
	case attrCausationID:
		return fieldCausationID, &a.CausationID
	}
	return 0, nil
}

// finishAttributes checks what was read as a whole.
func finishAttributes(a *Attributes, seen fieldSet) error {
	if seen&fieldSpecVersion == 0 {
		return attributeError(attrSpecVersion, ErrRequired, "", ErrNotCloudEvent)
	}
	slices.SortFunc(a.Extensions, func(x, y Extension) int { return strings.Compare(x.Name, y.Name) })
	return a.Validate()
}
