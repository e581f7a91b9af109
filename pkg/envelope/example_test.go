package envelope_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

type OrderPlaced struct {
	OrderID string `json:"order_id"`
	Cents   int64  `json:"cents"`
}

func (OrderPlaced) EventType() string  { return "shop.order.placed.v1" }
func (e OrderPlaced) EventKey() string { return e.OrderID }

// An event goes out as headers and body, and comes back typed.
func Example() {
	data, err := envelope.JSON{}.Encode(OrderPlaced{OrderID: "o-1", Cents: 500})
	if err != nil {
		fmt.Println(err)
		return
	}
	msg, err := envelope.Marshal(&envelope.Raw{
		Attributes: envelope.Attributes{
			ID: "1", Source: "/shop/checkout", Type: "shop.order.placed.v1",
			Subject: "order 1", DataContentType: "application/json", Key: "o-1",
		},
		Data: data,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(msg.Header.Get("ce-type"), msg.Header.Get("ce-subject"), string(msg.Data))

	raw, err := envelope.Unmarshal(msg)
	if err != nil {
		fmt.Println(err)
		return
	}
	e, err := envelope.DecodeData[OrderPlaced](nil, &raw)
	fmt.Println(e.Subject, e.Data.Cents, err)
	// Output:
	// shop.order.placed.v1 order%201 {"order_id":"o-1","cents":500}
	// order 1 500 <nil>
}

// Every refusal names the attribute and the rule.
func ExampleUnmarshal_refused() {
	_, err := envelope.Unmarshal(&nats.Msg{
		Subject: "events.shop.order.placed.v1._",
		Header: nats.Header{
			"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/shop"}, "ce-type": {"shop.order.placed.v1"},
			"ce-time": {"yesterday"},
		},
	})
	var broken *envelope.AttributeError
	fmt.Println(errors.As(err, &broken), broken.Attribute, errors.Is(err, envelope.ErrTimestamp))
	fmt.Println(err)
	// Output:
	// true time true
	// envelope: unmarshal message on "events.shop.order.placed.v1._": attribute "time" must be a timestamp (RFC 3339): "yesterday"
}

func ExampleMarshalStructured() {
	msg, err := envelope.MarshalStructured(&envelope.Raw{
		Attributes: envelope.Attributes{ID: "1", Source: "/shop", Type: "t", DataContentType: "application/json"},
		Data:       []byte(`{"cents":500}`),
	})
	fmt.Println(msg.Header, string(msg.Data), err)
	// Output:
	// map[Content-Type:[application/cloudevents+json]] {"specversion":"1.0","id":"1","source":"/shop","type":"t","datacontenttype":"application/json","data":{"cents":500}} <nil>
}

func ExampleCause() {
	// consume does this around a handler …
	ctx := envelope.ContextWithCause(context.Background(), &envelope.Attributes{ID: "e-7", CorrelationID: "e-1"})
	// … and publish reads it.
	fmt.Println(envelope.Cause(ctx))
	// Output: e-1 e-7
}

func ExampleTypeOf() {
	fmt.Println(envelope.TypeOf[*OrderPlaced]())
	fmt.Println(envelope.KeyOf(OrderPlaced{OrderID: "o-1"}))
	// Output:
	// shop.order.placed.v1 <nil>
	// o-1
}

func ExampleMessageID() {
	fmt.Println(envelope.MessageID("/shop/checkout", "o-1"))
	// Output: SZwrHDnYn_kUhY8eoccK2g
}

// csv is a codec of one's own: any type with these three methods.
type csv struct{}

func (csv) ContentType() string { return "text/csv" }

func (csv) Encode(v any) ([]byte, error) {
	row, ok := v.([]string)
	if !ok {
		return nil, fmt.Errorf("csv encodes []string, not %T", v)
	}
	return []byte(strings.Join(row, ",")), nil
}

func (csv) Decode(data []byte, v any) error {
	row, ok := v.(*[]string)
	if !ok {
		return fmt.Errorf("csv decodes to *[]string, not %T", v)
	}
	*row = strings.Split(string(data), ",")
	return nil
}

func ExampleNewCodecs() {
	codecs := envelope.NewCodecs(csv{}) // beside JSON and bytes
	e, err := envelope.DecodeData[[]string](codecs, &envelope.Raw{
		Attributes: envelope.Attributes{ID: "1", Source: "/s", Type: "t", DataContentType: "text/csv; charset=utf-8"},
		Data:       []byte("a,b"),
	})
	fmt.Println(e.Data, err)
	// Output: [a b] <nil>
}

func ExampleToSDK() {
	e := envelope.Raw{Attributes: envelope.Attributes{ID: "1", Source: "/s", Type: "t", Key: "k"}}
	converted, err := envelope.ToSDK(&e)
	fmt.Println(converted.ID(), converted.Extensions()["partitionkey"], err)
	back, err := envelope.FromSDK(converted)
	fmt.Println(back.Key, err)
	// Output:
	// 1 k <nil>
	// k <nil>
}
