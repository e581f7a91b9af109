package envelope

import "slices"

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
func (a *Attributes) Validate() error {
	if err := checkID(a.ID); err != nil {
		return err
	}
	if err := checkSource(a.Source); err != nil {
		return err
	}
	if err := checkType(a.Type); err != nil {
		return err
	}
	if err := a.validateOptional(); err != nil {
		return err
	}
	if err := a.validateExtensions(); err != nil {
		return err
	}
	return a.checkSize()
}

func (a *Attributes) validateOptional() error {
	if err := checkText(attrSubject, a.Subject); err != nil {
		return err
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
	if err := checkText(attrKey, a.Key); err != nil {
		return err
	}
	if err := checkText(attrCorrelationID, a.CorrelationID); err != nil {
		return err
	}
	return checkText(attrCausationID, a.CausationID)
}

func (a *Attributes) validateExtensions() error {
	sorted := true
	for i := range a.Extensions {
		x := &a.Extensions[i]
		if !isName(x.Name) {
			return attributeError(x.Name, ErrName, "", nil)
		}
		if hasField(x.Name) {
			return attributeError(x.Name, ErrReserved, x.Value, nil)
		}
		if err := checkText(x.Name, x.Value); err != nil {
			return err
		}
		sorted = sorted && (i == 0 || a.Extensions[i-1].Name < x.Name)
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

func checkID(id string) error {
	if id == "" {
		return attributeError(attrID, ErrRequired, "", nil)
	}
	if len(id) > MaxID {
		return attributeError(attrID, ErrTooLong, id, nil)
	}
	return checkText(attrID, id)
}

func checkSource(source string) error {
	if source == "" {
		return attributeError(attrSource, ErrRequired, "", nil)
	}
	if len(source) > MaxSource {
		return attributeError(attrSource, ErrTooLong, source, nil)
	}
	if !isURIReference(source) {
		return attributeError(attrSource, ErrURIReference, source, nil)
	}
	return nil
}

func checkType(typ string) error {
	if typ == "" {
		return attributeError(attrType, ErrRequired, "", nil)
	}
	if len(typ) > MaxType {
		return attributeError(attrType, ErrTooLong, typ, nil)
	}
	return checkText(attrType, typ)
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
