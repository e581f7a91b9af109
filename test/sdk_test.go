package test_test

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	cejetstream "github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

// patience bounds every wait in these tests.
const patience = 10 * time.Second

// sdkWrite is what the SDK's sender does with an event.
func sdkWrite(ctx context.Context, e *event.Event) (nats.Header, []byte, error) {
	body := new(bytes.Buffer)
	header, err := cejetstream.WriteMsg(ctx, (*binding.EventMessage)(e), body)
	return header, body.Bytes(), err
}

// sdkRead is what the SDK's receiver does with a message.
func sdkRead(ctx context.Context, msg *nats.Msg) (*event.Event, error) {
	e, err := binding.ToEvent(ctx, cejetstream.NewMessage(msg))
	if err != nil {
		return nil, err
	}
	return e, e.Validate()
}

// portrait is an event reduced to what both sides must agree in: attributes by
// name in their canonical string form, and the data.
type portrait struct {
	attributes map[string]string
	data       string
}

func (p portrait) equal(q portrait) bool {
	return p.data == q.data && maps.Equal(p.attributes, q.attributes)
}

func (p portrait) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p.attributes)) {
		b.WriteString("\n  " + name + ": " + p.attributes[name])
	}
	return b.String() + "\n  data: " + p.data
}

func (p portrait) set(name, value string) {
	if value != "" {
		p.attributes[name] = value
	}
}

func (p portrait) setTime(t time.Time) {
	if !t.IsZero() {
		p.set("time", t.UTC().Format(time.RFC3339Nano))
	}
}

func portraitOfSDK(t fataler, e *event.Event) portrait {
	t.Helper()
	p := portrait{attributes: map[string]string{}, data: string(e.Data())}
	p.set("id", e.ID())
	p.set("source", e.Source())
	p.set("type", e.Type())
	p.set("subject", e.Subject())
	p.set("datacontenttype", e.DataContentType())
	p.set("dataschema", e.DataSchema())
	p.setTime(e.Time())
	for name, v := range e.Extensions() {
		s, err := types.Format(v)
		if err != nil {
			t.Fatal(err)
		}
		p.set(name, s)
	}
	return p
}

func portraitOf(e *envelope.Raw) portrait {
	p := portrait{attributes: map[string]string{}, data: string(e.Data)}
	p.set("id", e.ID)
	p.set("source", e.Source)
	p.set("type", e.Type)
	p.set("subject", e.Subject)
	p.set("datacontenttype", e.DataContentType)
	p.set("dataschema", e.DataSchema)
	p.setTime(e.Time)
	p.set("partitionkey", e.Key)
	p.set("correlationid", e.CorrelationID)
	p.set("causationid", e.CausationID)
	for _, x := range e.Extensions {
		p.set(x.Name, x.Value)
	}
	return p
}
