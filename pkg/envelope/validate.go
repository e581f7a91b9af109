package envelope

import (
	"fmt"
	"slices"
)

// SpecVersion is the version of CloudEvents that this package writes and the
// only one it reads.
const SpecVersion = "1.0"

// Limits on what an event may carry, in bytes. They hold in both modes and
// both ways, so that whatever was read can be forwarded.
const (
	// MaxID and MaxSource bound what identifies an event. Both travel in logs,
	// metrics' exemplars and dead letters; nothing that names is longer.
	MaxID     = 1024
	MaxSource = 2048

	// MaxType leaves room in a subject of 1,024 bytes for the longest prefix
	// (a namespace and a dead letter's group) and a hashed key.
	MaxType = 512

	// serverHeaderLimit is what JetStream stores of headers: it keeps their
	// length in 16 bits and refuses more, whatever max_payload is.
	serverHeaderLimit = 65_535

	// HeaderHeadroom is kept free for what is added on the way: message id,
	// trace context, the schedule of a retry, and the facts of a dead letter
	// (each with a subject of up to 1,024 bytes, and an error text).
	HeaderHeadroom = 8 * 1024

	// MaxHeader bounds the header block that the attributes make in binary
	// mode: the server's limit less HeaderHeadroom.
	MaxHeader = serverHeaderLimit - HeaderHeadroom
)

// Names of the attributes that have a field.
const (
	attrID              = "id"
	attrSource          = "source"
	attrSpecVersion     = "specversion"
	attrType            = "type"
	attrSubject         = "subject"
	attrTime            = "time"
	attrDataContentType = "datacontenttype"
	attrDataSchema      = "dataschema"
	attrKey             = "partitionkey"
	attrCorrelationID   = "correlationid"
	attrCausationID     = "causationid"
)

// Validate checks every rule of CloudEvents 1.0 and docs/wire.md. It returns
// an *AttributeError for the first broken rule, or an error matching
// ErrTooLarge.
func (a *Attributes) Validate() error { return a.check(a.isPlain()) }

// check is Validate for attributes whose values are known to be plain or not.
// Plain ones are legal text and as long escaped as they are.
func (a *Attributes) check(plain bool) error {
	if err := a.checkRequired(); err != nil {
		return err
	}
	if !plain {
		if err := a.checkTexts(); err != nil {
			return err
		}
	}
	if !isURIReference(a.Source) {
		return attributeError(attrSource, ErrURIReference, a.Source, nil)
	}
	if err := checkTime(a.Time); err != nil {
		return err
	}
	if a.DataContentType != "" && !isMediaType(a.DataContentType) {
		return attributeError(attrDataContentType, ErrMediaType, a.DataContentType, nil)
	}
	if a.DataSchema != "" && !isAbsoluteURI(a.DataSchema) {
		return attributeError(attrDataSchema, ErrURI, a.DataSchema, nil)
	}
	if err := a.checkNames(); err != nil {
		return err
	}
	if n := a.blockSize(plain); n > MaxHeader {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed: move what is large into the data", ErrTooLarge, n, MaxHeader)
	}
	return nil
}

func (a *Attributes) checkRequired() error {
	for _, r := range [...]struct {
		name, value string
		limit       int
	}{
		{attrID, a.ID, MaxID},
		{attrSource, a.Source, MaxSource},
		{attrType, a.Type, MaxType},
	} {
		if err := checkLength(r.name, r.value, r.limit); err != nil {
			return err
		}
	}
	return nil
}

func checkLength(name, value string, limit int) error {
	switch {
	case value == "":
		return attributeError(name, ErrRequired, "", nil)
	case len(value) > limit:
		return attributeError(name, ErrTooLong, value, fmt.Errorf("%d bytes, at most %d are allowed", len(value), limit))
	}
	return nil
}

// checkType checks a type that stands alone.
func checkType(typ string) error {
	if err := checkLength(attrType, typ, MaxType); err != nil {
		return err
	}
	return checkText(attrType, typ)
}

// checkTexts checks the values that no other grammar bounds.
func (a *Attributes) checkTexts() error {
	for _, t := range [...]struct{ name, value string }{
		{attrID, a.ID},
		{attrType, a.Type},
		{attrSubject, a.Subject},
		{attrKey, a.Key},
		{attrCorrelationID, a.CorrelationID},
		{attrCausationID, a.CausationID},
	} {
		if err := checkText(t.name, t.value); err != nil {
			return err
		}
	}
	for i := range a.Extensions {
		if err := checkText(a.Extensions[i].Name, a.Extensions[i].Value); err != nil {
			return err
		}
	}
	return nil
}

// checkNames checks the names of the extensions, in any order.
func (a *Attributes) checkNames() error {
	sorted := true
	for i := range a.Extensions {
		name := a.Extensions[i].Name
		if !isName(name) {
			return attributeError(name, ErrName, "", nil)
		}
		if hasField(name) {
			return attributeError(name, ErrReserved, a.Extensions[i].Value, nil)
		}
		sorted = sorted && (i == 0 || a.Extensions[i-1].Name < name)
	}
	if sorted {
		return nil
	}
	names := make([]string, len(a.Extensions))
	for i := range a.Extensions {
		names[i] = a.Extensions[i].Name
	}
	slices.Sort(names)
	for i := 1; i < len(names); i++ {
		if names[i] == names[i-1] {
			return attributeError(names[i], ErrRepeated, "", nil)
		}
	}
	return nil
}

// isPlain tells whether all values are plain.
func (a *Attributes) isPlain() bool {
	for i := range a.Extensions {
		if !isPlain(a.Extensions[i].Value) {
			return false
		}
	}
	return isPlain(a.ID) && isPlain(a.Source) && isPlain(a.Type) && isPlain(a.Subject) &&
		isPlain(a.DataContentType) && isPlain(a.DataSchema) &&
		isPlain(a.Key) && isPlain(a.CorrelationID) && isPlain(a.CausationID)
}

// hasField tells whether an attribute has a field in Attributes, or is the
// specversion.
func hasField(name string) bool {
	switch name {
	case attrID, attrSource, attrSpecVersion, attrType, attrSubject, attrTime, attrDataContentType,
		attrDataSchema, attrKey, attrCorrelationID, attrCausationID:
		return true
	}
	return false
}

// isName tells whether name is a legal attribute name. The spec's advice (at
// most 20 characters, a letter first) is not a rule and is not enforced.
func isName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if ('a' > c || c > 'z') && ('0' > c || c > '9') {
			return false
		}
	}
	return name != "" && name != "data"
}
