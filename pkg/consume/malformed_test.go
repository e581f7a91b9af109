package consume_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// malformed gives n different messages, each no event for the subscription in
// its own way: no envelope, broken attributes, broken bodies, broken modes.
func malformed(t *testing.T, n int) []*nats.Msg {
	t.Helper()
	good := message(t, "good", orderPlaced{OrderID: "o"})
	with := func(name, value string) *nats.Msg {
		h := maps.Clone(good.Header)
		h[name] = []string{value}
		return &nats.Msg{Header: h, Data: good.Data}
	}
	without := func(name string) *nats.Msg {
		h := maps.Clone(good.Header)
		delete(h, name)
		return &nats.Msg{Header: h, Data: good.Data}
	}
	body := func(s string) *nats.Msg { return &nats.Msg{Header: maps.Clone(good.Header), Data: []byte(s)} }
	structured := func(s string) *nats.Msg {
		return &nats.Msg{Header: nats.Header{"Content-Type": {"application/cloudevents+json"}}, Data: []byte(s)}
	}
	kinds := []func(i int) *nats.Msg{
		func(i int) *nats.Msg { return &nats.Msg{Data: fmt.Appendf(nil, "bare %d", i)} },
		func(i int) *nats.Msg { return &nats.Msg{Data: fmt.Appendf(nil, `{"order_id":%d}`, i)} },
		func(int) *nats.Msg { return &nats.Msg{} },
		func(int) *nats.Msg { return without("ce-id") },
		func(int) *nats.Msg { return without("ce-source") },
		func(int) *nats.Msg { return without("ce-type") },
		func(i int) *nats.Msg { return with("ce-specversion", fmt.Sprintf("2.%d", i)) },
		func(i int) *nats.Msg { return with("ce-type", fmt.Sprintf("other.type.v%d", i)) },
		func(i int) *nats.Msg { return with("CE-ID", fmt.Sprintf("second spelling %d", i)) },
		func(i int) *nats.Msg { return with("ce-time", fmt.Sprintf("yesterday %d", i)) },
		func(i int) *nats.Msg { return with("ce-bad_name", strconv.Itoa(i)) },
		func(int) *nats.Msg { return with("ce-subject", "%C0%A0") },
		func(i int) *nats.Msg { return body(fmt.Sprintf(`{"order_id":%d}`, i)) }, // number for string
		func(i int) *nats.Msg { return body(fmt.Sprintf(`{"order_id":"%d"`, i)) },
		func(i int) *nats.Msg { return body(fmt.Sprintf(`{"order_id":"a","order_id":"%d"}`, i)) },
		func(int) *nats.Msg { return body("{\"order_id\":\"\xff\"}") },
		func(i int) *nats.Msg { return body(strings.Repeat("[", 10_000+i)) },
		func(i int) *nats.Msg { return body(fmt.Sprintf(`{"cents":1e%d}`, 400+i)) },
		func(int) *nats.Msg { return body("") },
		func(i int) *nats.Msg { return structured(fmt.Sprintf(`{"specversion":"1.0","id":"%d"}`, i)) },
		func(int) *nats.Msg { return structured(`not json`) },
		func(int) *nats.Msg { return structured(``) },
		func(i int) *nats.Msg {
			return structured(fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/x","type":"shop.order.placed.v1","data":{},"data_base64":"AA=="}`, i))
		},
		func(int) *nats.Msg {
			return &nats.Msg{Header: nats.Header{"Content-Type": {"application/cloudevents-batch+json"}}, Data: []byte(`[]`)}
		},
		func(int) *nats.Msg {
			return &nats.Msg{Header: nats.Header{"Content-Type": {"application/cloudevents+avro"}}, Data: []byte{0, 1, 2}}
		},
		func(i int) *nats.Msg { return with("ce-datacontenttype", fmt.Sprintf("application/x-unknown-%d", i)) },
		func(int) *nats.Msg { return with("ce-datacontenttype", "no media type") },
		func(i int) *nats.Msg { return body(string(bytes.Repeat([]byte{byte(i)}, 100))) },
	}
	out := make([]*nats.Msg, 0, n)
	for i := range n {
		m := kinds[i%len(kinds)](i)
		m.Subject = fmt.Sprintf("events.shop.order.placed.v1.k%d", i)
		out = append(out, m)
	}
	return out
}

func TestMalformedMessagesBecomeDeadLetters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	bad := malformed(t, 200)
	for _, m := range bad[:100] {
		if _, err := b.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	b.place(t, 10)
	got := newTally()
	c, _ := start(t, b.js, quick(), consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		got.add(e.ID)
		return nil
	}))
	for _, m := range bad[100:] {
		if _, err := b.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	b.place2(t, 10, 20)
	eventually(t, func() error {
		if n := len(b.dead(t)); n != len(bad) {
			return fmt.Errorf("%d dead letters", n)
		}
		return errors.Join(got.each(20, 1), b.idle(t, "EVENTS"))
	})
	bodies := map[string]int{}
	for _, m := range bad {
		bodies[string(m.Data)]++
	}
	for _, d := range b.dead(t) {
		if reason := d.Header.Get(consume.HeaderDeadReason); reason != "invalid" && reason != "undecodable" {
			t.Errorf("dead letter %d: reason %q", d.Sequence, reason)
		}
		if d.Header.Get(consume.HeaderDeadError) == "" || d.Header.Get(consume.HeaderDeadAttempts) != "0" {
			t.Errorf("dead letter %d: %v", d.Sequence, d.Header)
		}
		bodies[string(d.Data)]--
	}
	for s, n := range bodies {
		if n != 0 {
			t.Errorf("body %.40q: %d dead letters too few", s, n)
		}
	}
	if s := c.Status().Subscriptions[0]; s.Handled != 20 {
		t.Errorf("%+v", s)
	}
}
