package envelope

import "encoding/json"

const jsonType = "application/json"

// JSON is the codec of application/json.
type JSON struct{}

// ContentType returns application/json.
func (JSON) ContentType() string { return jsonType }

// Encode returns the JSON text of v, as encoding/json writes it.
func (JSON) Encode(v any) ([]byte, error) { return json.Marshal(v) }

// Decode stores the JSON text in the value v points to.
func (JSON) Decode(data []byte, v any) error { return json.Unmarshal(data, v) }
