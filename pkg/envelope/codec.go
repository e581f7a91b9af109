package envelope

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
