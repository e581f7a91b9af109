package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

// ask sends a discovery request and decodes the answer into micro's own type,
// in which every field must have a place.
func ask[T any](t *testing.T, nc *nats.Conn, verb micro.Verb, name, id string) (got T) {
	t.Helper()
	subject, err := micro.ControlSubject(verb, name, id)
	if err != nil {
		t.Fatal(err)
	}
	m, err := nc.RequestWithContext(t.Context(), subject, nil)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	d := json.NewDecoder(bytes.NewReader(m.Data))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatalf("%s: %v in %s", subject, err, m.Data)
	}
	return got
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	block := make(chan struct{})
	defer close(block)
	svc := start(t, nc, service.Config{
		Name: "billing", Version: "1.2.3-rc.1+build", Instance: "i-1", Description: "bills",
		Metadata: map[string]string{"team": "money"}, Logger: quiet(),
	},
		service.Handle("quote", func(ctx context.Context, r quoteRequest) (quote, error) {
			<-time.After(time.Duration(r.Qty) * time.Millisecond)
			return price(ctx, r)
		}, service.WithMetadata(map[string]string{"unit": "cents"})),
		service.Handle("hang", func(context.Context, struct{}) (int, error) { <-block; return 0, errors.New("x") }),
	)
	cl := newClient(t, nc, service.ClientConfig{})
	for i := range 10 {
		if _, err := service.Call[quote](t.Context(), cl, "billing.quote", quoteRequest{SKU: "A", Qty: 2}); err != nil {
			t.Fatal(i, err)
		}
	}
	for range 200 {
		if _, err := service.Call[quote](t.Context(), cl, "billing.quote", quoteRequest{}); err == nil {
			t.Fatal("no error")
		}
	}
	if err := service.Cast(t.Context(), cl, "billing.hang", struct{}{}); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, 5*time.Second, func() bool { return svc.Status().Endpoints[1].Running == 1 }, "it hangs")

	for _, at := range [][2]string{{"", ""}, {"billing", ""}, {"billing", "i-1"}} {
		ping := ask[micro.Ping](t, nc, micro.PingVerb, at[0], at[1])
		if ping.Type != micro.PingResponseType || ping.Name != "billing" || ping.ID != "i-1" || ping.Version != "1.2.3-rc.1+build" || ping.Metadata["team"] != "money" {
			t.Errorf("ping %+v", ping)
		}
		info := ask[micro.Info](t, nc, micro.InfoVerb, at[0], at[1])
		if info.Type != micro.InfoResponseType || info.Description != "bills" || len(info.Endpoints) != 2 {
			t.Errorf("info %+v", info)
		}
		if e := info.Endpoints[0]; e.Name != "quote" || e.Subject != "rpc.billing.quote" || e.QueueGroup != "q" || e.Metadata["unit"] != "cents" {
			t.Errorf("endpoint %+v", e)
		}
		stats := ask[micro.Stats](t, nc, micro.StatsVerb, at[0], at[1])
		if stats.Type != micro.StatsResponseType || stats.Started.IsZero() || time.Since(stats.Started) > time.Minute || len(stats.Endpoints) != 2 {
			t.Fatalf("stats %+v", stats)
		}
		e := stats.Endpoints[0]
		if e.NumRequests != 210 || e.NumErrors != 200 || e.LastError != "invalid_argument: sku is empty" || e.QueueGroup != "q" {
			t.Errorf("stats %+v", e)
		}
		if e.ProcessingTime < 20*time.Millisecond || e.AverageProcessingTime != e.ProcessingTime/210 {
			t.Errorf("times %v, %v", e.ProcessingTime, e.AverageProcessingTime)
		}
		var more service.EndpointStatus
		if err := json.Unmarshal(stats.Endpoints[1].Data, &more); err != nil || more.Running != 1 || more.Concurrency != service.DefaultConcurrency {
			t.Errorf("more %+v, %v", more, err)
		}
	}
	for _, subject := range []string{"$SRV.PING.other", "$SRV.PING.billing.other", "$SRV.OTHER"} {
		if _, err := nc.RequestWithContext(t.Context(), subject, nil); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%s: %v", subject, err)
		}
	}
}

// A service of another environment has another name, since the protocol knows
// no environments.
func TestDiscoveryInNamespace(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	start(t, nc, service.Config{Name: "billing", Namespace: "staging"}, service.Handle("quote", price))
	info := ask[micro.Info](t, nc, micro.InfoVerb, "staging_billing", "")
	if info.Name != "staging_billing" || info.Endpoints[0].Subject != "staging.rpc.billing.quote" || info.Metadata == nil || info.Endpoints[0].Metadata == nil {
		t.Errorf("info %+v", info)
	}
}
