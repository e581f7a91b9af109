package envelope_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/agner-go/agner/pkg/envelope"
)

// nine is the event of the cost bar: nine attributes (four required, three
// optional, two extensions) and 256 bytes of JSON.
func nine() envelope.Raw {
	data := append([]byte(`{"order_id":"o-1","note":"`), bytes.Repeat([]byte{'x'}, 228)...)
	return envelope.Raw{
		Attributes: envelope.Attributes{
			ID:              "A234-1234-1234",
			Source:          "https://example.com/orders/7",
			Type:            "com.example.order.placed.v1",
			Subject:         "order/7",
			Time:            time.Date(2026, 8, 20, 12, 34, 56, 123456789, time.UTC),
			DataContentType: "application/json",
			Key:             "7",
			Extensions:      []envelope.Extension{{Name: "sampledrate", Value: "30"}},
		},
		Data: append(data, '"', '}'),
	}
}

func BenchmarkMarshal(b *testing.B) {
	e := nine()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := envelope.Marshal(&e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	e := nine()
	msg, err := envelope.Marshal(&e)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := envelope.Unmarshal(msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMarshalStructured(b *testing.B) {
	e := nine()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := envelope.MarshalStructured(&e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnmarshalStructured(b *testing.B) {
	e := nine()
	msg, err := envelope.MarshalStructured(&e)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := envelope.Unmarshal(msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMessageID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = envelope.MessageID("https://example.com/orders/7", "A234-1234-1234")
	}
}
