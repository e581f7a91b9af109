package envelope

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

const (
	memberData   = "data"
	memberBase64 = "data_base64"
)

// MarshalStructured makes a message in the structured mode of the NATS
// binding: one JSON object with attributes and data as body, and the header
// Content-Type. It is for receivers that want one document; binary mode is
// cheaper, and its attributes are read without the body. Subject is left to
// the caller.
//
// Data that a JSON text can hold byte for byte (the content type is JSON, the
// text breaks no rule of JSON.Decode and has no white space around it) become
// the member data, all other data_base64, so the bytes never change.
//
// The error is that of Attributes.Validate.
func MarshalStructured(e *Raw) (*nats.Msg, error) {
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("envelope: marshal structured %s: %w", describe(&e.Attributes), err)
	}
	b := make([]byte, 0, 512+len(e.Data)*4/3)
	b = append(b, `{"specversion":"1.0"`...)
	b = appendMember(b, attrID, e.ID)
	b = appendMember(b, attrSource, e.Source)
	b = appendMember(b, attrType, e.Type)
	b = appendOptional(b, attrSubject, e.Subject)
	if !e.Time.IsZero() {
		b = append(b, `,"time":"`...)
		b = append(appendTime(b, e.Time), '"')
	}
	b = appendOptional(b, attrDataContentType, e.DataContentType)
	b = appendOptional(b, attrDataSchema, e.DataSchema)
	b = appendOptional(b, attrKey, e.Key)
	b = appendOptional(b, attrCorrelationID, e.CorrelationID)
	b = appendOptional(b, attrCausationID, e.CausationID)
	for i := range e.Extensions {
		b = appendMember(b, e.Extensions[i].Name, e.Extensions[i].Value)
	}
	b = append(appendData(b, e), '}')
	return &nats.Msg{Header: nats.Header{contentTypeHeader: {structuredJSON}}, Data: b}, nil
}

// appendMember writes an attribute that has been validated: of what JSON
// escapes, only quotes and backslashes can be in it.
func appendMember(b []byte, name, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':', '"')
	for i := range len(value) {
		if c := value[i]; c == '"' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, value[i])
	}
	return append(b, '"')
}

func appendOptional(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendMember(b, name, value)
}

func appendData(b []byte, e *Raw) []byte {
	switch {
	case len(e.Data) == 0:
		return b
	case declaresJSON(e.DataContentType) && isTight(e.Data) && checkJSON(e.Data, 1) == nil:
		b = append(b, `,"data":`...)
		return append(b, e.Data...)
	}
	b = append(b, `,"data_base64":"`...)
	return append(base64.StdEncoding.AppendEncode(b, e.Data), '"')
}

// isTight tells whether a text has no white space around it.
func isTight(b []byte) bool { return b[0] > ' ' && b[len(b)-1] > ' ' }

// unmarshalUndeclared reads a message that says nothing of its mode.
func unmarshalUndeclared(e *Raw, body []byte) error {
	members, err := jsonMembers(body)
	for i := range members {
		if string(members[i].name) == attrSpecVersion {
			return readMembers(e, members, err)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: no ce-* header, no Content-Type, and the body is no event: %w", ErrNotCloudEvent, err)
	}
	return fmt.Errorf("%w: no ce-* header, no Content-Type, and no specversion in the body", ErrNotCloudEvent)
}

func unmarshalStructured(e *Raw, body []byte) error {
	members, err := jsonMembers(body)
	return readMembers(e, members, err)
}

// readMembers takes an event out of the members of its object; scanned is the
// error that ended their scan.
func readMembers(e *Raw, members []member, scanned error) error {
	if scanned != nil {
		return fmt.Errorf("structured event: %w", scanned)
	}
	var seen fieldSet
	var data, encoded []byte
	for _, m := range members {
		switch {
		case string(m.name) == memberData:
			data = m.value
		case string(m.name) == memberBase64:
			encoded = m.value
		default:
			if err := readMember(&e.Attributes, &seen, m); err != nil {
				return err
			}
		}
	}
	if isNull(encoded) {
		encoded = nil // no attribute, but what a writer of attributes makes of none
	}
	if data != nil && encoded == nil && e.DataContentType == "" {
		e.DataContentType = jsonType // implied: the JSON format, section 3.1.2
	}
	if err := finishAttributes(&e.Attributes, seen, e.isPlain()); err != nil {
		return err
	}
	var err error
	if e.Data, err = readData(e.DataContentType, data, encoded); err != nil {
		return fmt.Errorf("%w: %w", ErrData, err)
	}
	return nil
}

func readMember(a *Attributes, seen *fieldSet, m member) error {
	name := string(m.name)
	if !isName(name) {
		return attributeError(name, ErrName, "", nil)
	}
	if isNull(m.value) {
		return nil // the JSON format: null is the same as absent
	}
	value, err := attributeValue(name, m.value)
	if err != nil {
		return err
	}
	return setAttribute(a, seen, name, value)
}

func isNull(value []byte) bool { return string(value) == "null" }

// attributeValue gives the canonical string form of an attribute's JSON value.
// The attributes of the spec are strings in JSON, all of them; an extension
// may be a boolean or an integer too.
func attributeValue(name string, value []byte) (string, error) {
	c := value[0]
	if c == '"' {
		return string(unquoteJSON(value)), nil
	}
	if c == '{' || c == '[' || hasField(name) && !isOwnExtension(name) {
		return "", attributeError(name, ErrValueType, string(value), nil)
	}
	if c == 't' || c == 'f' {
		return string(value), nil
	}
	n, err := strconv.ParseInt(string(value), 10, 32)
	if err != nil {
		return "", attributeError(name, ErrValueType, string(value), errors.Unwrap(err))
	}
	return strconv.FormatInt(n, 10), nil
}

func isOwnExtension(name string) bool {
	return name == attrKey || name == attrCorrelationID || name == attrCausationID
}

// readData takes the data out of its member. The bytes of a JSON value are
// those of the text, not re-encoded. No bytes are no data, as in binary mode.
func readData(contentType string, data, encoded []byte) ([]byte, error) {
	switch {
	case encoded != nil && data != nil:
		return nil, fmt.Errorf("both %s and %s are present", memberData, memberBase64)
	case encoded != nil:
		return readBase64(encoded)
	case data == nil:
		return nil, nil
	case declaresJSON(contentType):
		return data[:len(data):len(data)], nil
	case isNull(data):
		return nil, nil
	case data[0] != '"':
		return nil, fmt.Errorf("member %s must be a string, for %q is not JSON", memberData, bounded(contentType))
	}
	if cs := charset(contentType); cs != "" && !strings.EqualFold(cs, "utf-8") && !strings.EqualFold(cs, "us-ascii") {
		return nil, fmt.Errorf("text in charset %q is not converted: send %s", bounded(cs), memberBase64)
	}
	text := unquoteJSON(data)
	if len(text) == 0 {
		return nil, nil
	}
	return text[:len(text):len(text)], nil
}

func readBase64(quoted []byte) ([]byte, error) {
	if quoted[0] != '"' {
		return nil, fmt.Errorf("member %s must be a string", memberBase64)
	}
	text := unquoteJSON(quoted)
	if i := bytes.IndexAny(text, "\r\n"); i >= 0 {
		// The decoder would skip line breaks, which RFC 4648 does not allow.
		return nil, fmt.Errorf("%s: line break at byte %d", memberBase64, i)
	}
	b, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", memberBase64, err)
	}
	return b, nil
}

// charset is the charset parameter of a content type, "" without one.
func charset(contentType string) string {
	_, params, ok := strings.Cut(contentType, ";")
	for params = ";" + params; ok; {
		var name, value string
		if name, value, params, ok = nextParameter(params); ok && strings.EqualFold(name, "charset") {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}
