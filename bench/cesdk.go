package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	cejetstream "github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
)

// cesdk is the CNCF SDK with its NATS binding, as its client uses it: an event
// is validated, then written; a message is read, then the event is validated.
type cesdk struct {
	skips
	name string
}

func (c cesdk) Name() string { return c.name }

// The sample event of encode and decode: nine attributes, 256 bytes of JSON.
const (
	sampleID      = "SZY8PpFS5nZSZVQFTZ0ZSN"
	sampleSubject = "order/7"
	sampleType    = orderType
	sampleKey     = "customer-000007"
	sampleRate    = "30"
)

func sampleTime() time.Time { return time.Date(2026, 8, 20, 12, 34, 56, 123456789, time.UTC) }

func (cesdk) Encode() (func() error, error) {
	e := event.New()
	e.SetID(sampleID)
	e.SetSource(orderSource)
	e.SetType(sampleType)
	e.SetSubject(sampleSubject)
	e.SetTime(sampleTime())
	e.SetExtension("partitionkey", sampleKey)
	e.SetExtension("sampledrate", sampleRate)
	// As json.RawMessage: the SDK would encode a struct, and mark []byte as
	// binary.
	data, err := json.Marshal(order(7))
	if err != nil {
		return nil, err
	}
	if err := e.SetData(event.ApplicationJSON, json.RawMessage(data)); err != nil {
		return nil, err
	}
	ctx := context.Background()
	msg, err := encodeSDK(ctx, &e)
	if err != nil {
		return nil, err
	}
	if n := len(msg.Header); n != 9 {
		return nil, fmt.Errorf("wrote %d headers: %v", n, msg.Header)
	}
	return func() error {
		_, err := encodeSDK(ctx, &e)
		return err
	}, nil
}

func encodeSDK(ctx context.Context, e *event.Event) (*nats.Msg, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	body := new(bytes.Buffer)
	header, err := cejetstream.WriteMsg(ctx, (*binding.EventMessage)(e), body)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: rawSubject + sampleKey, Header: header, Data: body.Bytes()}, nil
}

func (cesdk) Decode() (func() error, error) {
	msg, err := sampleMessage()
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	read := func() (*event.Event, error) {
		e, err := binding.ToEvent(ctx, cejetstream.NewMessage(msg))
		if err != nil {
			return nil, err
		}
		return e, e.Validate()
	}
	e, err := read()
	if err != nil {
		return nil, err
	}
	if n := len(e.Extensions()); e.ID() != sampleID || !e.Time().Equal(sampleTime()) || n != 2 || len(e.Data()) != orderBytes {
		return nil, fmt.Errorf("read something else: %s", e)
	}
	return func() error {
		_, err := read()
		return err
	}, nil
}

// sampleMessage is the message that both sides decode.
func sampleMessage() (*nats.Msg, error) {
	data, err := json.Marshal(order(7))
	if err != nil {
		return nil, err
	}
	if len(data) != orderBytes {
		return nil, errors.New("the sample's data have another size than declared")
	}
	return &nats.Msg{
		Subject: rawSubject + sampleKey,
		Data:    data,
		Header: nats.Header{
			"ce-specversion":     {"1.0"},
			"ce-id":              {sampleID},
			"ce-source":          {orderSource},
			"ce-type":            {sampleType},
			"ce-subject":         {sampleSubject},
			"ce-time":            {sampleTime().Format(time.RFC3339Nano)},
			"ce-datacontenttype": {event.ApplicationJSON},
			"ce-partitionkey":    {sampleKey},
			"ce-sampledrate":     {sampleRate},
			nats.MsgIdHdr:        {rawMessageID(orderSource, sampleID)},
		},
	}, nil
}
