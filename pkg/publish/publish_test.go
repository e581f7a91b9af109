package publish_test

import (
	"os"
	"testing"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }

type placed struct {
	Order string `json:"order"`
	N     int    `json:"n"`
}

func (placed) EventType() string  { return "shop.order.placed.v1" }
func (e placed) EventKey() string { return e.Order }

func TestPublish(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub, err := publish.New(js, publish.Config{Source: "/test"})
	if err != nil {
		t.Fatal(err)
	}
	ack, err := pub.Publish(t.Context(), placed{"o-1", 1})
	t.Log(ack, err)
	f := pub.PublishAsync(t.Context(), placed{"o-1", 2})
	ack, err = f.Wait(t.Context())
	t.Log(ack, err)
	acks, err := pub.PublishBatch(t.Context(), []envelope.Payload{placed{"o-1", 3}, placed{"o-2", 4}})
	t.Log(acks, err)
	if err := pub.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	ack, err = pub.Publish(t.Context(), placed{"o-1", 1})
	t.Log(ack, err)
}
