package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
)

// MarshalStructured makes a message in the structured mode of the NATS
// binding: one JSON object with attributes and data, and the Content-Type
// header. Binary mode is cheaper; this is for receivers that want one document.
func MarshalStructured(e *Raw) (*nats.Msg, error) {
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("envelope: marshal structured %s: %w", describe(&e.Attributes), err)
	}
	m := map[string]any{"specversion": SpecVersion, "id": e.ID, "source": e.Source, "type": e.Type}
	opt := func(k, v string) {
		if v != "" {
			m[k] = v
		}
	}
	opt(attrSubject, e.Subject)
	if !e.Time.IsZero() {
		m[attrTime] = formatTime(e.Time)
	}
	opt(attrDataContentType, e.DataContentType)
	opt(attrDataSchema, e.DataSchema)
	opt(attrKey, e.Key)
	opt(attrCorrelationID, e.CorrelationID)
	opt(attrCausationID, e.CausationID)
	for _, x := range e.Extensions {
		m[x.Name] = x.Value
	}
	switch {
	case len(e.Data) == 0:
	case declaresJSON(e.DataContentType) && json.Valid(e.Data):
		m["data"] = json.RawMessage(e.Data)
	default:
		m["data_base64"] = e.Data
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Header: nats.Header{"Content-Type": {structuredJSON}}, Data: b}, nil
}

func unmarshalUndeclared(data []byte) (Raw, error) {
	var m map[string]json.RawMessage
	if json.Unmarshal(data, &m) != nil || m["specversion"] == nil {
		return Raw{}, ErrNotCloudEvent
	}
	return unmarshalStructured(data)
}

func unmarshalStructured(data []byte) (e Raw, err error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(data, &m); err != nil {
		return Raw{}, fmt.Errorf("%w: %w", ErrData, err)
	}
	var seen fieldSet
	for k, v := range m {
		if k == "data" || k == "data_base64" || bytes.Equal(v, []byte("null")) {
			continue
		}
		if !isName(k) {
			return Raw{}, attributeError(k, ErrName, "", nil)
		}
		s := string(v)
		if v[0] == '"' {
			if err := json.Unmarshal(v, &s); err != nil {
				return Raw{}, attributeError(k, ErrValueType, s, err)
			}
		}
		if err := setAttribute(&e.Attributes, &seen, k, s); err != nil {
			return Raw{}, err
		}
	}
	if d, ok := m["data_base64"]; ok {
		var s string
		if err := json.Unmarshal(d, &s); err != nil {
			return Raw{}, fmt.Errorf("%w: %w", ErrData, err)
		}
		if e.Data, err = base64.StdEncoding.DecodeString(s); err != nil {
			return Raw{}, fmt.Errorf("%w: %w", ErrData, err)
		}
	} else if d, ok := m["data"]; ok {
		if e.DataContentType == "" {
			e.DataContentType = "application/json"
		}
		e.Data = d
	}
	return e, finishAttributes(&e.Attributes, seen)
}
