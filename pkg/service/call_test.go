package service_test

import (
	"testing"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

func TestCall(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	start(t, srv.Connect(t), service.Config{Name: "billing"}, service.Handle("quote", price))
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})

	got, err := service.Call[quote](t.Context(), cl, "billing.quote", quoteRequest{SKU: "A1", Qty: 3})
	if err != nil || got != (quote{SKU: "A1", Cents: 300}) {
		t.Fatalf("got %+v, %v", got, err)
	}
	_, err = service.Call[quote](t.Context(), cl, "billing.quote", quoteRequest{})
	if service.CodeOf(err) != service.CodeInvalidArgument || !service.IsRemote(err) {
		t.Fatalf("got %v", err)
	}
	t.Log(err)
	_, err = service.Call[quote](t.Context(), cl, "billing.nothing", quoteRequest{})
	if service.CodeOf(err) != service.CodeUnavailable || service.IsRemote(err) {
		t.Fatalf("got %v", err)
	}
	t.Log(err)
}
