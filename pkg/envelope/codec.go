package envelope

import (
	"fmt"
	"reflect"
	"strings"
)

// Codec turns data of one content type into bytes and back. Implementations
// are safe for concurrent use.
type Codec interface {
	// ContentType is the media type that Encode produces, "application/json".
	ContentType() string
	// Encode returns the bytes of v.
	Encode(v any) ([]byte, error)
	// Decode stores data in the value v points to.
	Decode(data []byte, v any) error
}

// Codecs finds the codec of a content type. A nil *Codecs and the zero value
// know JSON and Bytes. It is not changed once made, so it is safe for
// concurrent use.
type Codecs struct {
	byType map[string]Codec
	plain  *plainTypes
}

// NewCodecs registers codecs beside JSON and Bytes, each under its
// ContentType; of two with one media type the later is taken, so a codec for
// application/json takes the place of JSON. Nil codecs are ignored.
func NewCodecs(codecs ...Codec) *Codecs {
	c := &Codecs{byType: make(map[string]Codec, len(codecs)), plain: &plainTypes{}}
	for _, codec := range codecs {
		if codec != nil {
			c.byType[strings.ToLower(mediaType(codec.ContentType()))] = codec
		}
	}
	return c
}

// For returns the codec of a content type: that of its media type, compared
// without parameters and case, else for any `+json` type that of
// application/json, which is also that of an absent content type. The error
// matches ErrNoCodec.
func (c *Codecs) For(contentType string) (Codec, error) {
	m := mediaType(contentType)
	if m == "" {
		m = jsonType
	}
	if codec := c.lookup(m); codec != nil {
		return codec, nil
	}
	if declaresJSON(m) {
		return c.lookup(jsonType), nil
	}
	return nil, fmt.Errorf("%w %q: pass a codec for it", ErrNoCodec, bounded(contentType))
}

func (c *Codecs) lookup(media string) Codec {
	if c != nil && len(c.byType) > 0 {
		if codec := c.byType[strings.ToLower(media)]; codec != nil {
			return codec
		}
	}
	switch {
	case strings.EqualFold(media, jsonType):
		if c == nil {
			return JSON{}
		}
		return JSON{plain: c.plain}
	case strings.EqualFold(media, bytesType):
		return Bytes{}
	}
	return nil
}

// DecodeData gives the event with its data as a T, by the codec of its content
// type. With T = []byte it gives the bytes untouched, whatever the content
// type. The error is a *DataError.
func DecodeData[T any](c *Codecs, e *Raw) (Event[T], error) {
	out := Event[T]{Attributes: e.Attributes, Delivery: e.Delivery}
	if raw, ok := any(&out.Data).(*[]byte); ok {
		*raw = e.Data
		return out, nil
	}
	codec, err := c.For(e.DataContentType)
	if err == nil {
		err = codec.Decode(e.Data, &out.Data)
	}
	if err != nil {
		return Event[T]{}, &DataError{ContentType: e.DataContentType, GoType: reflect.TypeFor[T]().String(), Err: err}
	}
	return out, nil
}

const bytesType = "application/octet-stream"

// Bytes is the codec of application/octet-stream: it takes and gives []byte
// and string as they are, and nothing else.
type Bytes struct{}

// ContentType returns application/octet-stream.
func (Bytes) ContentType() string { return bytesType }

// Encode returns the bytes of a []byte, which it does not copy, or a string.
func (Bytes) Encode(v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return v, nil
	case string:
		return []byte(v), nil
	}
	return nil, fmt.Errorf("bytes codec encodes []byte and string, not %T", v)
}

// Decode stores data, which it does not copy, in a *[]byte, or in a *string.
func (Bytes) Decode(data []byte, v any) error {
	switch v := v.(type) {
	case *[]byte:
		*v = data
	case *string:
		*v = string(data)
	default:
		return fmt.Errorf("bytes codec decodes to *[]byte and *string, not %T", v)
	}
	return nil
}
