package inbox_test

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
)

type eventOf[T any] = envelope.Event[T]

// outputs reads the events of a type as they stand, by key.
func outputs(t *testing.T, js jetstream.JetStream, filter string) map[string][]cartChanged {
	t.Helper()
	c, err := js.CreateConsumer(t.Context(), "EVENTS", jetstream.ConsumerConfig{FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]cartChanged{}
	for n := c.CachedInfo().NumPending; n > 0; {
		batch, err := c.Fetch(int(min(n, 1000)))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			var e cartChanged
			if err := json.Unmarshal(m.Data(), &e); err != nil {
				t.Fatal(err)
			}
			out[e.CartID] = append(out[e.CartID], e)
			n--
		}
	}
	return out
}

// TestRoundTrip sends to many entities and asks each: state, order and outputs
// are those of one entity handling its messages one by one.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	in, stop := start(t, js, quick(), adding(), showing())
	to := client(t, js)
	const keys, each = 20, 25
	for n := range each {
		for k := range keys {
			to.SendAsync(t.Context(), "k"+strconv.Itoa(k), itemAdded{N: n})
		}
	}
	checkCarts(t, to, keys, each)
	if n := len(in.Owned()); n != 8 {
		t.Errorf("owns %d partitions", n)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	checkOutputs(t, js, keys, each)
}
