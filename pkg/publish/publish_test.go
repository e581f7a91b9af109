package publish_test

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }

type placed struct {
	OrderID string `json:"order_id"`
}

func (placed) EventType() string  { return "shop.order.placed.v1" }
func (e placed) EventKey() string { return e.OrderID }

// stored reads one message as it stands in the stream.
func stored(t *testing.T, js jetstream.JetStream, stream string, sequence uint64) *jetstream.RawStreamMsg {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(t.Context(), sequence)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPublish(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub := newPublisher(t, js, publish.Config{Source: "/shop/checkout"})
	before := time.Now()
	ack, err := pub.Publish(t.Context(), placed{"o 1"})
	if err != nil {
		t.Fatal(err)
	}
	if ack.Stream != "EVENTS" || ack.Sequence != 1 || ack.ID == "" || ack.Duplicate {
		t.Errorf("ack %+v", ack)
	}
	m := stored(t, js, "EVENTS", 1)
	if m.Subject != "events.shop.order.placed.v1.o%201" || string(m.Data) != `{"order_id":"o 1"}` {
		t.Errorf("stored %s %s", m.Subject, m.Data)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get("ce-time"))
	if err != nil || at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("ce-time %q, %v", m.Header.Get("ce-time"), err)
	}
	for name := range m.Header { // what the server adds when asked for a message
		if name == "ce-time" || strings.HasPrefix(name, "Nats-") && name != "Nats-Msg-Id" {
			delete(m.Header, name)
		}
	}
	want := nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {ack.ID}, "ce-source": {"/shop/checkout"}, "ce-type": {"shop.order.placed.v1"},
		"ce-datacontenttype": {"application/json"}, "ce-partitionkey": {"o%201"}, "Nats-Msg-Id": {envelope.MessageID("/shop/checkout", ack.ID)},
	}
	if !reflect.DeepEqual(m.Header, want) {
		t.Errorf("header\n%v, want\n%v", m.Header, want)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub := newPublisher(t, js, publish.Config{})
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	ack, err := pub.Publish(t.Context(), placed{"o-1"},
		publish.WithID("id-1"), publish.WithKey("k-2"), publish.WithSource("/elsewhere"), publish.WithTime(at),
		publish.WithSubject("order"), publish.WithSchema("https://example.com/order.json"), publish.WithContentType("application/vnd.x+json"),
		publish.WithCorrelation("c-1"), publish.WithCausation("c-2"),
		publish.WithExtension("zeta", "1"), publish.WithExtension("alpha", "2"), publish.WithExtension("zeta", "3"))
	if err != nil {
		t.Fatal(err)
	}
	e := read(t, js, ack.Sequence)
	want := envelope.Attributes{
		ID: "id-1", Key: "k-2", Source: "/elsewhere", Type: "shop.order.placed.v1", Time: at, Subject: "order",
		DataSchema: "https://example.com/order.json", DataContentType: "application/vnd.x+json", CorrelationID: "c-1", CausationID: "c-2",
		Extensions: []envelope.Extension{{Name: "alpha", Value: "2"}, {Name: "zeta", Value: "3"}},
	}
	if !reflect.DeepEqual(e.Attributes, want) {
		t.Errorf("read\n%+v, want\n%+v", e.Attributes, want)
	}
	if e.Delivery.Subject != "events.shop.order.placed.v1.k-2" {
		t.Errorf("subject %s", e.Delivery.Subject)
	}
}

func read(t *testing.T, js jetstream.JetStream, sequence uint64) envelope.Raw {
	t.Helper()
	m := stored(t, js, "EVENTS", sequence)
	e, err := envelope.Unmarshal(&nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestChain publishes under the context of a handler: the new event names the
// one that caused it, and the chain that both belong to.
func TestChain(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub := newPublisher(t, js, publish.Config{})
	ctx := envelope.ContextWithCause(t.Context(), &envelope.Attributes{ID: "first"})
	ack, err := pub.Publish(ctx, placed{"o-1"})
	if err != nil {
		t.Fatal(err)
	}
	second := read(t, js, ack.Sequence)
	if second.CorrelationID != "first" || second.CausationID != "first" {
		t.Errorf("second: %+v", second.Attributes)
	}
	ack, err = pub.PublishAsync(envelope.ContextWithCause(t.Context(), &second.Attributes), placed{"o-2"}).Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if third := read(t, js, ack.Sequence); third.CorrelationID != "first" || third.CausationID != second.ID {
		t.Errorf("third: %+v", third.Attributes)
	}
}

func TestDuplicate(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub := newPublisher(t, js, publish.Config{})
	for i, want := range []publish.Ack{
		{Stream: "EVENTS", Sequence: 1, ID: "same"},
		{Stream: "EVENTS", Sequence: 1, ID: "same", Duplicate: true},
	} {
		if ack, err := pub.Publish(t.Context(), placed{"o-1"}, publish.WithID("same")); err != nil || ack != want {
			t.Errorf("publish %d: %+v, %v; want %+v", i+1, ack, err, want)
		}
	}
	// Another source may use the id too.
	ack, err := pub.Publish(t.Context(), placed{"o-1"}, publish.WithID("same"), publish.WithSource("/other"))
	if err != nil || ack.Sequence != 2 || ack.Duplicate {
		t.Errorf("of another source: %+v, %v", ack, err)
	}
}

func TestPublishEvent(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub := newPublisher(t, js, publish.Config{})
	e := event.New()
	e.SetType("foreign.type")
	e.SetSource("/foreign")
	e.SetExtension("partitionkey", "k")
	if err := e.SetData("text/plain", []byte("as it is")); err != nil {
		t.Fatal(err)
	}
	ack, err := pub.PublishEvent(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if e.ID() != "" {
		t.Errorf("the caller's event was given an id: %q", e.ID())
	}
	got := read(t, js, ack.Sequence)
	if got.ID != ack.ID || got.Source != "/foreign" || got.DataContentType != "text/plain" || string(got.Data) != "as it is" ||
		got.Delivery.Subject != "events.foreign.type.k" {
		t.Errorf("read %+v", got)
	}
	e.SetID("own")
	if ack, err = pub.PublishEvent(t.Context(), e); err != nil || ack.ID != "own" {
		t.Errorf("with an id: %+v, %v", ack, err)
	}
	for name, bad := range map[string]event.Event{"zero": {}, "no type": event.New()} {
		if _, err := pub.PublishEvent(t.Context(), bad); !errors.Is(err, publish.ErrNotSent) {
			t.Errorf("%s event: %v", name, err)
		}
	}
}

func TestPublishRaw(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub := newPublisher(t, js, publish.Config{})
	exts := []envelope.Extension{{Name: "a", Value: "1"}}
	e := envelope.Raw{
		Attributes: envelope.Attributes{Type: "t", DataContentType: "application/json", Extensions: exts},
		Data:       []byte(`{ "spaces" :  "kept" }`),
		Delivery:   envelope.Delivery{Header: nats.Header{"Nats-Rollup": {"all"}, "Nats-Msg-Id": {"forged"}}},
	}
	ack, err := pub.PublishRaw(t.Context(), e, publish.WithExtension("a", "2"))
	if err != nil {
		t.Fatal(err)
	}
	if exts[0].Value != "1" {
		t.Error("the caller's extensions were changed")
	}
	got := read(t, js, ack.Sequence)
	if string(got.Data) != string(e.Data) || got.ID != ack.ID || got.Source != "/test" || got.Time.IsZero() || got.Extensions[0].Value != "2" {
		t.Errorf("read %+v %s", got.Attributes, got.Data)
	}
	if got.Delivery.Header.Get("Nats-Rollup") != "" || got.Delivery.Header.Get("Nats-Msg-Id") != envelope.MessageID(got.Source, got.ID) {
		t.Errorf("header %v", got.Delivery.Header)
	}
}

func TestPublishRawAsync(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub := newPublisher(t, js, publish.Config{})
	var futures []*publish.Future
	for _, data := range []string{"1", "2", "3"} {
		futures = append(futures, pub.PublishRawAsync(t.Context(), envelope.Raw{
			Attributes: envelope.Attributes{Type: "t", Key: "k", DataContentType: "application/json"}, Data: []byte(data),
		}))
	}
	for i, f := range futures {
		ack, err := f.Wait(t.Context())
		if err != nil || ack.Sequence != uint64(i+1) {
			t.Errorf("event %d: %+v, %v", i, ack, err)
		}
	}
	if _, err := pub.PublishRawAsync(t.Context(), envelope.Raw{}).Wait(t.Context()); !errors.Is(err, envelope.ErrRequired) || !errors.Is(err, publish.ErrNotSent) {
		t.Errorf("an event without a type: %v", err)
	}
}

func TestNamespace(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	plain := newPublisher(t, js, publish.Config{})
	staging := newPublisher(t, js, publish.Config{Namespace: "staging"})
	a, err := plain.Publish(t.Context(), placed{"o-1"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := staging.Publish(t.Context(), placed{"o-1"})
	if err != nil {
		t.Fatal(err)
	}
	if a.Stream != "EVENTS" || b.Stream != "staging_EVENTS" || a.Sequence != 1 || b.Sequence != 1 {
		t.Errorf("stored %+v and %+v", a, b)
	}
	if m := stored(t, js, "staging_EVENTS", 1); m.Subject != "staging.events.shop.order.placed.v1.o-1" {
		t.Errorf("subject %s", m.Subject)
	}
}

// TestDomain publishes through a JetStream domain, by the user's own JetStream.
func TestDomain(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Options(func(o *server.Options) { o.JetStreamDomain = "hub" }))
	js, err := jetstream.NewWithDomain(srv.Connect(t, nats.CustomInboxPrefix("_INBOX.shop")), "hub")
	if err != nil {
		t.Fatal(err)
	}
	if ack, err := newPublisher(t, js, publish.Config{}).Publish(t.Context(), placed{"o-1"}); err != nil || ack.Stream != "EVENTS" {
		t.Errorf("%+v, %v", ack, err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	for name, tc := range map[string]struct {
		cfg  publish.Config
		text string
	}{
		"no source":          {publish.Config{}, "source"},
		"bad source":         {publish.Config{Source: "a b"}, "source"},
		"bad namespace":      {publish.Config{Source: "/s", Namespace: "A"}, "namespace"},
		"bad window":         {publish.Config{Source: "/s", MaxInFlight: publish.MaxWindow + 1}, "MaxInFlight"},
		"bad content type":   {publish.Config{Source: "/s", ContentType: "nonsense"}, "datacontenttype"},
		"no codec":           {publish.Config{Source: "/s", ContentType: "text/csv"}, "text/csv"},
		"bad replicas":       {publish.Config{Source: "/s", Replicas: 7}, "replicas"},
		"bad timeout":        {publish.Config{Source: "/s", AckTimeout: -1}, "AckTimeout"},
		"beyond the window":  {publish.Config{Source: "/s", RetryFor: 2 * time.Minute}, "RetryFor"},
		"negative retry for": {publish.Config{Source: "/s", RetryFor: -1}, "RetryFor"},
	} {
		if pub, err := publish.New(js, tc.cfg); err == nil || pub != nil || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := publish.New(nil, publish.Config{Source: "/s"}); err == nil {
		t.Error("nil js was taken")
	}
}

// TestCodec uses a codec of the user's.
func TestCodec(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub := newPublisher(t, js, publish.Config{Codecs: envelope.NewCodecs(csv{}), ContentType: "text/csv"})
	ack, err := pub.Publish(t.Context(), placed{"o-1"})
	if err != nil {
		t.Fatal(err)
	}
	if e := read(t, js, ack.Sequence); string(e.Data) != "o-1\n" || e.DataContentType != "text/csv" {
		t.Errorf("read %+v %s", e.Attributes, e.Data)
	}
	if ack, err = pub.Publish(t.Context(), placed{"o-1"}, publish.WithContentType("application/json")); err != nil {
		t.Fatal(err)
	}
	if e := read(t, js, ack.Sequence); !json.Valid(e.Data) {
		t.Errorf("read %s", e.Data)
	}
	_, err = pub.Publish(t.Context(), tick{})
	var data *envelope.DataError
	if !errors.As(err, &data) || !errors.Is(err, publish.ErrNotSent) {
		t.Errorf("a payload that the codec refuses: %v", err)
	}
}

type csv struct{}

func (csv) ContentType() string { return "text/csv" }

func (csv) Encode(v any) ([]byte, error) {
	p, ok := v.(placed)
	if !ok {
		return nil, errors.New("csv takes orders only")
	}
	return []byte(p.OrderID + "\n"), nil
}

func (csv) Decode([]byte, any) error { return errors.ErrUnsupported }
