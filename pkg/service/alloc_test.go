//go:build !race

package service_test

import (
	"encoding/json"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

// A call allocates no more than the same with bare nats.go and JSON; both
// sides are counted, the server is in another process. The race detector
// allocates too, so it is left out.
func TestCallAllocations(t *testing.T) {
	srv := testserver.StartChild(t)
	start(t, srv.Connect(t), service.Config{Name: "billing"}, service.Handle("quote", price))
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	raw := srv.Connect(t)
	if _, err := raw.QueueSubscribe("raw.quote", "q", func(m *nats.Msg) {
		var r quoteRequest
		if json.Unmarshal(m.Data, &r) == nil {
			data, _ := json.Marshal(quote{SKU: r.SKU, Cents: 100 * r.Qty})
			_ = m.Respond(data)
		}
	}); err != nil {
		t.Fatal(err)
	}
	client := srv.Connect(t)
	req := quoteRequest{SKU: "A1", Qty: 3}
	bare := testing.AllocsPerRun(300, func() {
		data, _ := json.Marshal(req)
		m, err := client.RequestWithContext(t.Context(), "raw.quote", data)
		var q quote
		if err != nil || json.Unmarshal(m.Data, &q) != nil {
			t.Error(err)
		}
	})
	ours := testing.AllocsPerRun(300, func() {
		if _, err := service.Call[quote](t.Context(), cl, "billing.quote", req); err != nil {
			t.Error(err)
		}
	})
	t.Logf("%.1f allocations, bare nats.go %.1f", ours, bare)
	if ours > bare+1 {
		t.Errorf("%.1f allocations, bare nats.go %.1f", ours, bare)
	}
}
