package envelope

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Errors of whole messages.
var (
	// ErrNotCloudEvent reports a message that carries no sign of a CloudEvent.
	ErrNotCloudEvent = errors.New("message is not a CloudEvent")
	// ErrUnsupported reports a CloudEvent in a form that this package does not
	// read: a batch, or an event format other than JSON.
	ErrUnsupported = errors.New("form of CloudEvent is not supported")
	// ErrTooLarge reports attributes that do not fit into one header block.
	ErrTooLarge = errors.New("event attributes do not fit the header block")
	// ErrData reports a structured event whose data cannot be taken out of it.
	ErrData = errors.New("event data cannot be read")
	// ErrNoCodec reports data of a media type without a codec.
	ErrNoCodec = errors.New("no codec is registered for the media type")
	// ErrPayload reports a Go type that cannot be a payload.
	ErrPayload = errors.New("type cannot be an event payload")
)

// Rules that an attribute can break. An *AttributeError matches its rule with
// errors.Is.
var (
	ErrRequired     = errors.New("is required")
	ErrEmpty        = errors.New("must not be empty when present")
	ErrName         = errors.New(`name must be of a-z and 0-9 and not "data"`)
	ErrReserved     = errors.New("name has a field of its own and cannot be in Extensions")
	ErrText         = errors.New("must be UTF-8 without control characters and noncharacters")
	ErrURIReference = errors.New("must be a URI-reference (RFC 3986 section 4.1)")
	ErrURI          = errors.New("must be an absolute URI without fragment (RFC 3986 section 4.3)")
	ErrMediaType    = errors.New("must be a media type (RFC 2046)")
	ErrTimestamp    = errors.New("must be a timestamp (RFC 3339)")
	ErrSpecVersion  = errors.New(`must be "1.0"`)
	ErrRepeated     = errors.New("must stand once, in one spelling")
	ErrTooLong      = errors.New("is too long")
	ErrEscape       = errors.New("percent-encoding must give UTF-8")
	ErrValueType    = errors.New("must be a JSON string, or for an extension a boolean or 32-bit integer")
)

// AttributeError names the attribute that breaks a rule of CloudEvents 1.0 or
// of docs/wire.md, and the rule.
type AttributeError struct {
	Attribute string // name of the attribute, or of the header that stands for it
	Rule      error  // the rule it breaks: ErrRequired, ErrText, …
	Value     string // the offending value, cut to 64 bytes
	Err       error  // what the check found, or nil
}

func (e *AttributeError) Error() string {
	s := "attribute " + strconv.Quote(e.Attribute) + " " + e.Rule.Error()
	if e.Value != "" {
		s += ": " + strconv.Quote(e.Value)
	}
	if e.Err != nil {
		s += ": " + boundedError(e.Err)
	}
	return s
}

// Unwrap gives the rule and the cause.
func (e *AttributeError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Rule}
	}
	return []error{e.Rule, e.Err}
}

// maxErrorValue bounds what of a foreign value goes into an error and from
// there into logs and dead-letter headers.
const maxErrorValue = 64

func attributeError(name string, rule error, value string, cause error) *AttributeError {
	return &AttributeError{Attribute: bounded(name), Rule: rule, Value: bounded(value), Err: cause}
}

func bounded(s string) string { return cut(s, maxErrorValue) }

// maxErrorText bounds the text of a cause that others wrote: encoding/json and
// time quote a whole value of the wire.
const maxErrorText = 512

func boundedError(err error) string { return cut(err.Error(), maxErrorText) }

// cut shortens s to n bytes, or a little less, so as not to split a rune.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := n; i > n-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i] + "…"
		}
	}
	return s[:n] + "…"
}

// DataError reports data that could not be turned into, or made from, a Go
// value.
type DataError struct {
	ContentType string // media type of the data, "" when absent
	GoType      string // the Go type on the other side
	Err         error  // the codec's error, or ErrNoCodec
}

func (e *DataError) Error() string {
	ct := e.ContentType
	if ct == "" {
		ct = "no content type"
	}
	return fmt.Sprintf("event data (%s) as %s: %s", bounded(ct), e.GoType, boundedError(e.Err))
}

func (e *DataError) Unwrap() error { return e.Err }
