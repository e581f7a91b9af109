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
	e := Raw{Delivery: Delivery{Subject: msg.Subject, Header: msg.Header}}
	if err := unmarshal(&e, msg); err != nil {
		return Raw{}, fmt.Errorf("envelope: unmarshal message on %q: %w", bounded(msg.Subject), err)
	}
	return e, nil
}

func unmarshal(e *Raw, msg *nats.Msg) error {
	// One pass over the headers: which mode it is shows only at its end, and
	// in structured mode what the ce-* headers say does not count. binaryErr
	// is not kept in the reader, where it would move the event to the heap.
	var (
		binary    = headerReader{event: e}
		isBinary  bool
		binaryErr error
		declared  contentType
	)
	for name, values := range msg.Header {
		switch {
		case len(values) == 0:
		case hasHeaderPrefix(name):
			isBinary = true
			if binaryErr == nil {
				binaryErr = binary.read(name, values)
			}
		case len(name) == len(contentTypeHeader) && strings.EqualFold(name, contentTypeHeader):
			declared.read(values)
		}
	}
	structured, err := declared.structured()
	switch {
	case err != nil:
		return err
	case structured:
		e.Attributes = Attributes{}
		return unmarshalStructured(e, msg.Data)
	case binaryErr != nil:
		return binaryErr
	case isBinary:
		if err := binary.finish(msg.Data); err != nil {
			return err
		}
		e.ID = FiringID(e.ID, msg.Header)
		return nil
	}
	return unmarshalUndeclared(e, msg.Data)
}

const (
	contentTypeHeader = "Content-Type"
	structuredType    = "application/cloudevents"
	structuredJSON    = "application/cloudevents+json"
)

// contentType collects what the Content-Type headers of a message declare.
type contentType struct {
	values      int
	isEvent     bool   // one is the structured mode in JSON
	unsupported string // one is a form of CloudEvent that is not read
}

func (c *contentType) read(values []string) {
	for _, v := range values {
		c.values++
		m := strings.ToLower(mediaType(v))
		form, ok := strings.CutPrefix(m, structuredType)
		switch {
		case !ok:
		case form == "", form == "+json":
			c.isEvent = true
		case form[0] == '+', strings.HasPrefix(form, "-batch"):
			c.unsupported = v
		}
	}
}

func (c *contentType) structured() (bool, error) {
	switch {
	case c.unsupported != "":
		return false, fmt.Errorf("%w: %q: send binary mode, or %s", ErrUnsupported, bounded(c.unsupported), structuredJSON)
	case c.isEvent && c.values > 1:
		return false, attributeError(contentTypeHeader, ErrRepeated, "", nil)
	}
	return c.isEvent, nil
}
