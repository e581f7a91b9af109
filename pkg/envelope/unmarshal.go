package envelope

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// Unmarshal reads an event from a message, in the mode that the message has:
//
//  1. a Content-Type of application/cloudevents or application/cloudevents+json
//     is the structured mode; a batch and other formats match ErrUnsupported;
//  2. a ce-specversion header, in any case, is the binary mode;
//  3. no ce-* header, and a JSON object with a specversion as body, is the
//     structured mode as the CNCF SDK for Go sends it;
//  4. anything else matches ErrNotCloudEvent.
//
// Data may share memory with the message. Of Delivery it sets Subject and
// Header. All attributes have been validated. It never panics, whatever the
// message holds; errors are *AttributeError, *JSONError, or match a sentinel
// of this package.
func Unmarshal(msg *nats.Msg) (Raw, error) {
	if msg == nil {
		return Raw{}, fmt.Errorf("envelope: unmarshal: no message: %w", ErrNotCloudEvent)
	}
	e, err := unmarshal(msg)
	if err != nil {
		return Raw{}, fmt.Errorf("envelope: unmarshal message on %q: %w", bounded(msg.Subject), err)
	}
	e.Delivery.Subject = msg.Subject
	e.Delivery.Header = msg.Header
	return e, nil
}

func unmarshal(msg *nats.Msg) (Raw, error) {
	structured, err := declaresStructured(msg.Header)
	if err != nil {
		return Raw{}, err
	}
	if structured {
		return unmarshalStructured(msg.Data)
	}
	for name := range msg.Header {
		if hasHeaderPrefix(name) {
			return unmarshalBinary(msg)
		}
	}
	return unmarshalUndeclared(msg.Data)
}

const (
	structuredType  = "application/cloudevents"
	structuredJSON  = "application/cloudevents+json"
)

// declaresStructured looks for a Content-Type that says structured mode.
func declaresStructured(h nats.Header) (bool, error) {
	var count int
	var structured bool
	for name, values := range h {
		if len(name) != len("content-type") || !strings.EqualFold(name, "content-type") {
			continue
		}
		count += len(values)
		for _, v := range values {
			ok, err := isStructuredType(v)
			if err != nil {
				return false, err
			}
			structured = structured || ok
		}
	}
	if structured && count > 1 {
		return false, attributeError("content-type", ErrRepeated, "", nil)
	}
	return structured, nil
}

func isStructuredType(contentType string) (bool, error) {
	m := mediaType(contentType)
	if len(m) < len(structuredType) || !strings.EqualFold(m[:len(structuredType)], structuredType) {
		return false, nil
	}
	switch rest := strings.ToLower(m[len(structuredType):]); {
	case rest == "", rest == "+json":
		return true, nil
	case rest[0] == '+', strings.HasPrefix(rest, "-batch"):
		return false, fmt.Errorf("%w: %q: send binary mode, or %s", ErrUnsupported, bounded(contentType), structuredJSON)
	}
	return false, nil
}
