package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
)

const jsonType = "application/json"

// JSON is the codec of application/json: encoding/json, with a check of the
// text both ways. It is safe for concurrent use.
type JSON struct {
	// plain spares the check of what encoding/json writes by itself. The codec
	// of a Codecs has it.
	plain *plainTypes
}

// ContentType returns application/json.
func (JSON) ContentType() string { return jsonType }

// Encode returns the JSON text of v, as encoding/json writes it, after the
// check that Decode makes where a json.RawMessage or MarshalJSON method could
// break a rule. The error is a *JSONError, or that of encoding/json.
//
// A Go string that is not UTF-8 is refused with ErrJSONUTF8, where encoding/json
// would send U+FFFD in place of the user's bytes.
func (j JSON) Encode(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if !j.plain.has(reflect.TypeOf(v)) {
		if err := checkJSON(text, 0); err != nil {
			return nil, err
		}
	}
	// encoding/json writes the escape for what it replaced, and the rune
	// itself where v held it. Only a text with the escape is worth a walk.
	if i := bytes.Index(text, []byte(`\ufffd`)); i >= 0 && holdsBadString(reflect.ValueOf(v), MaxJSONDepth) {
		return nil, &JSONError{Offset: i, Rule: ErrJSONUTF8}
	}
	return text, nil
}

// Decode stores the JSON text in the value v points to. Unknown members are
// ignored, so that producers may add some. A *JSONError tells of
//
//   - a text that is not one JSON value, not UTF-8, holds half of a surrogate
//     pair, names a member twice, or nests deeper than MaxJSONDepth;
//   - a number that the Go type cannot hold, or a value of another kind;
//   - null for a pointer, or for a struct that does not decode itself, either of
//     which a handler would take for data.
func (JSON) Decode(data []byte, v any) error {
	if err := checkJSON(data, 0); err != nil {
		return err
	}
	if string(bytes.TrimSpace(data)) == "null" && refusesNull(v) {
		return &JSONError{Rule: ErrJSONType, Err: errNull}
	}
	err := json.Unmarshal(data, v)
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		rule := ErrJSONType
		if strings.HasPrefix(mismatch.Value, "number") {
			rule = ErrJSONNumber
		}
		return &JSONError{Offset: int(mismatch.Offset), Rule: rule, Err: err}
	}
	return err
}

var errNull = errors.New("null instead of data")

func refusesNull(v any) bool {
	if _, ok := v.(json.Unmarshaler); ok {
		return false
	}
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer {
		return false // json.Unmarshal refuses it in its own words
	}
	kind := t.Elem().Kind()
	return kind == reflect.Pointer || kind == reflect.Struct
}
