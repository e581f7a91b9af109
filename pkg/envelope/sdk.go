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

// ToSDK converts an event to the CNCF SDK's. Extensions become strings;
// Delivery is left behind.
func ToSDK(e *Raw) (event.Event, error) {
	if err := e.Validate(); err != nil {
		return event.Event{}, fmt.Errorf("envelope: to SDK %s: %w", describe(&e.Attributes), err)
	}
	out := event.New(event.CloudEventsVersionV1)
	out.SetID(e.ID)
	out.SetSource(e.Source)
	out.SetType(e.Type)
	if e.Subject != "" {
		out.SetSubject(e.Subject)
	}
	if !e.Time.IsZero() {
		out.SetTime(e.Time)
	}
	if e.DataContentType != "" {
		out.SetDataContentType(e.DataContentType)
	}
	if e.DataSchema != "" {
		out.SetDataSchema(e.DataSchema)
	}
	for _, name := range []string{attrKey, attrCorrelationID, attrCausationID} {
		if v, ok := e.Extension(name); ok {
			out.SetExtension(name, v)
		}
	}
	for i := range e.Extensions {
		out.SetExtension(e.Extensions[i].Name, e.Extensions[i].Value)
	}
	out.DataEncoded = e.Data
	out.DataBase64 = !declaresJSON(e.DataContentType)
	for name, err := range out.FieldErrors {
		return event.Event{}, fmt.Errorf("envelope: to SDK %s: attribute %q: %w", describe(&e.Attributes), name, err)
	}
	return out, nil
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
