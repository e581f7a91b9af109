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
	plain := e.isPlain()
	if err := e.check(plain); err != nil {
		return nil, fmt.Errorf("envelope: marshal %s: %w", describe(&e.Attributes), err)
	}
	// One array holds all the values: a slice for each would be an allocation
	// for each. The map has room for what publishers add.
	n := e.count()
	w := headerWriter{
		header: make(nats.Header, n+headerSpare),
		values: make([]string, 0, n),
		plain:  plain,
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

// headerSpare is for Nats-Msg-Id. With it the usual event has eight headers,
// which is what a map holds without a table of groups: half the allocations.
const headerSpare = 1

type headerWriter struct {
	header nats.Header
	values []string
	plain  bool // no value needs an escape
}

func (w *headerWriter) set(name, value string) {
	if !w.plain {
		value = escape(value)
	}
	n := len(w.values)
	w.values = append(w.values, value)
	w.header[name] = w.values[n : n+1 : n+1]
}

func (w *headerWriter) setOptional(name, value string) {
	if value != "" {
		w.set(name, value)
	}
}

// count gives the number of attributes that are set.
func (a *Attributes) count() int {
	n := 4 + len(a.Extensions)
	for _, set := range [...]bool{
		a.Subject != "", !a.Time.IsZero(), a.DataContentType != "", a.DataSchema != "",
		a.Key != "", a.CorrelationID != "", a.CausationID != "",
	} {
		if set {
			n++
		}
	}
	return n
}

// blockSize is an upper bound of the header block of the attributes in binary
// mode, at most 150 bytes too high.
func (a *Attributes) blockSize(plain bool) int {
	const fields = "NATS/1.0\r\nce-specversion: 1.0\r\nce-time: 2006-01-02T15:04:05.999999999+07:00\r\n" +
		"ce-id: \r\nce-source: \r\nce-type: \r\nce-subject: \r\nce-datacontenttype: \r\nce-dataschema: \r\n" +
		"ce-partitionkey: \r\nce-correlationid: \r\nce-causationid: \r\n\r\n"
	length := escapedLen
	if plain {
		length = func(s string) int { return len(s) }
	}
	n := len(fields) + length(a.ID) + length(a.Source) + length(a.Type) + length(a.Subject) +
		length(a.DataContentType) + length(a.DataSchema) +
		length(a.Key) + length(a.CorrelationID) + length(a.CausationID)
	for i := range a.Extensions {
		n += len("ce-: \r\n") + len(a.Extensions[i].Name) + length(a.Extensions[i].Value)
	}
	return n
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

// headerReader reads the attributes out of headers.
type headerReader struct {
	event *Raw
	seen  fieldSet
	odd   bool // a value is not plain
}

func hasHeaderPrefix(name string) bool {
	return len(name) >= 3 && name[0]|0x20 == 'c' && name[1]|0x20 == 'e' && name[2] == '-'
}

func (r *headerReader) read(header string, values []string) error {
	name := header[len(headerPrefix):]
	if !isName(name) {
		if name = strings.ToLower(name); !isName(name) {
			return attributeError(header, ErrName, "", nil)
		}
	}
	if len(values) > 1 {
		return attributeError(name, ErrRepeated, "", nil)
	}
	value := values[0]
	if !isPlain(value) {
		r.odd = true
		var ok bool
		if value, ok = unescape(value); !ok {
			return attributeError(name, ErrEscape, values[0], nil)
		}
		if isUnescapedURI(name, values[0], value) {
			value = values[0]
		}
	}
	return setAttribute(&r.event.Attributes, &r.seen, name, value)
}

// isUnescapedURI tells whether a header holds a URI as it is, with the URI's
// own percent-encoding, which the binding would have encoded once more. The
// CNCF SDK for Go sends such. It is believed only where the value that the
// binding means is no URI, so a writer that obeys the binding is never misread.
func isUnescapedURI(name, raw, value string) bool {
	switch name {
	case attrSource:
		return !isURIReference(value) && isURIReference(raw)
	case attrDataSchema:
		return !isAbsoluteURI(value) && isAbsoluteURI(raw)
	}
	return false
}

// finish completes the event with the message's body as its data.
func (r *headerReader) finish(body []byte) error {
	if len(body) > 0 {
		r.event.Data = body
	}
	return finishAttributes(&r.event.Attributes, r.seen, !r.odd)
}

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
func finishAttributes(a *Attributes, seen fieldSet, plain bool) error {
	if seen&fieldSpecVersion == 0 {
		return attributeError(attrSpecVersion, ErrRequired, "", ErrNotCloudEvent)
	}
	slices.SortFunc(a.Extensions, func(x, y Extension) int { return strings.Compare(x.Name, y.Name) })
	return a.check(plain)
}
