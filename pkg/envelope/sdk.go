package envelope

import (
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
)

// ToSDK converts an event to the CNCF SDK's. Extensions become strings, the
// data stay the same bytes, Delivery is left behind. A source or dataschema
// that the SDK's URL type cannot hold unchanged is an error.
func ToSDK(e *Raw) (event.Event, error) {
	if err := e.Validate(); err != nil {
		return event.Event{}, fmt.Errorf("envelope: to SDK %s: %w", describe(&e.Attributes), err)
	}
	// The setters of event.Event trim what they are given; the fields do not.
	ec := &event.EventContextV1{
		ID:              e.ID,
		Type:            e.Type,
		Subject:         pointerTo(e.Subject),
		DataContentType: pointerTo(e.DataContentType),
		Extensions:      sdkExtensions(&e.Attributes),
	}
	err := errors.Join(ec.SetSource(e.Source), ec.SetDataSchema(e.DataSchema), ec.SetTime(e.Time))
	switch {
	case err != nil:
	case ec.GetSource() != e.Source:
		err = fmt.Errorf("source %q would become %q", bounded(e.Source), bounded(ec.GetSource()))
	case ec.GetDataSchema() != e.DataSchema:
		err = fmt.Errorf("dataschema %q would become %q", bounded(e.DataSchema), bounded(ec.GetDataSchema()))
	}
	if err != nil {
		return event.Event{}, fmt.Errorf("envelope: to SDK %s: the SDK cannot hold it: %w", describe(&e.Attributes), err)
	}
	return event.Event{Context: ec, DataEncoded: e.Data, DataBase64: !isSDKJSON(e)}, nil
}

func pointerTo(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func sdkExtensions(a *Attributes) map[string]any {
	m := make(map[string]any, len(a.Extensions)+3)
	for _, name := range []string{attrKey, attrCorrelationID, attrCausationID} {
		if v, ok := a.Extension(name); ok {
			m[name] = v
		}
	}
	for i := range a.Extensions {
		m[a.Extensions[i].Name] = a.Extensions[i].Value
	}
	return m
}

// isSDKJSON tells whether the SDK's structured mode may write the data as a
// JSON value. It would do so unchecked, and with a `+json` type writes the
// text as a string; all else goes as base64, which keeps the bytes.
func isSDKJSON(e *Raw) bool {
	_, subtype, _ := strings.Cut(mediaType(e.DataContentType), "/")
	return strings.EqualFold(subtype, "json") && checkJSON(e.Data, 1) == nil
}

// FromSDK converts an event of the CNCF SDK, version 1.0, and validates it.
// Extensions take their canonical string form.
func FromSDK(e event.Event) (Raw, error) {
	if e.Context == nil {
		return Raw{}, fmt.Errorf("envelope: from SDK: event without context: %w", ErrNotCloudEvent)
	}
	out, err := fromSDK(&e)
	if err != nil {
		return Raw{}, fmt.Errorf("envelope: from SDK event %q of type %q: %w", bounded(e.ID()), bounded(e.Type()), err)
	}
	return out, nil
}

func fromSDK(e *event.Event) (Raw, error) {
	if v := e.SpecVersion(); v != SpecVersion {
		return Raw{}, attributeError(attrSpecVersion, ErrSpecVersion, v, nil)
	}
	for name, err := range e.FieldErrors {
		return Raw{}, fmt.Errorf("attribute %q was refused by the SDK: %w", bounded(name), err)
	}
	out := Raw{Data: e.Data()}
	out.ID, out.Source, out.Type, out.Subject = e.ID(), e.Source(), e.Type(), e.Subject()
	out.Time, out.DataContentType, out.DataSchema = e.Time(), e.DataContentType(), e.DataSchema()
	for name, v := range e.Extensions() {
		value, err := canonical(v)
		if err != nil {
			return Raw{}, attributeError(name, ErrValueType, "", err)
		}
		switch field, dst := out.field(name); {
		case dst != nil && field >= fieldKey:
			if value == "" {
				return Raw{}, attributeError(name, ErrEmpty, "", nil)
			}
			*dst = value
		default:
			out.Extensions = append(out.Extensions, Extension{Name: name, Value: value})
		}
	}
	slices.SortFunc(out.Extensions, func(x, y Extension) int { return strings.Compare(x.Name, y.Name) })
	return out, out.Validate()
}

// canonical gives the canonical string form of an attribute value. The SDK's
// own formatter lives outside the one package of it that Agner imports.
func canonical(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int32:
		return strconv.Itoa(int(v)), nil
	case []byte:
		return base64.StdEncoding.EncodeToString(v), nil
	case nil:
		return "", errors.New("nil is not a CloudEvents value")
	}
	// URI, URIRef and Timestamp have String on the value or on its pointer.
	p := reflect.New(reflect.TypeOf(v))
	p.Elem().Set(reflect.ValueOf(v))
	if s, ok := p.Interface().(fmt.Stringer); ok {
		return s.String(), nil
	}
	return "", fmt.Errorf("%T is not a CloudEvents type", v)
}
