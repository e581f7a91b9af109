package main

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

// agner is this project, as its README shows it.
type agner struct{ skips }

func (agner) Name() string { return "agner" }

func (agner) Encode() (func() error, error) {
	data, err := json.Marshal(order(7))
	if err != nil {
		return nil, err
	}
	e := envelope.Raw{
		Attributes: envelope.Attributes{
			ID:              sampleID,
			Source:          orderSource,
			Type:            sampleType,
			Subject:         sampleSubject,
			Time:            sampleTime(),
			DataContentType: "application/json",
			Key:             sampleKey,
			Extensions:      []envelope.Extension{{Name: "sampledrate", Value: sampleRate}},
		},
		Data: data,
	}
	write := func() (*nats.Msg, error) {
		msg, err := envelope.Marshal(&e)
		if err != nil {
			return nil, err
		}
		msg.Subject = rawSubject + sampleKey
		return msg, nil
	}
	msg, err := write()
	if err != nil {
		return nil, err
	}
	if n := len(msg.Header); n != 9 {
		return nil, fmt.Errorf("wrote %d headers: %v", n, msg.Header)
	}
	return func() error {
		_, err := write()
		return err
	}, nil
}

func (agner) Decode() (func() error, error) {
	msg, err := sampleMessage()
	if err != nil {
		return nil, err
	}
	e, err := envelope.Unmarshal(msg)
	if err != nil {
		return nil, err
	}
	if e.ID != sampleID || !e.Time.Equal(sampleTime()) || e.Key != sampleKey || len(e.Extensions) != 1 || len(e.Data) != orderBytes {
		return nil, fmt.Errorf("read something else: %+v", e.Attributes)
	}
	return func() error {
		_, err := envelope.Unmarshal(msg)
		return err
	}, nil
}
