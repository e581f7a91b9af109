package service_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/embedded"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/service"
)

type OrderPlaced struct {
	OrderID string `json:"order_id"`
	Cents   int64  `json:"cents"`
}

func (OrderPlaced) EventType() string  { return "shop.order.placed.v1" }
func (e OrderPlaced) EventKey() string { return e.OrderID }

type QuoteRequest struct {
	SKU string `json:"sku"`
}

type Quote struct {
	SKU   string `json:"sku"`
	Cents int64  `json:"cents"`
}

func quoteOf(_ context.Context, r QuoteRequest) (Quote, error) {
	if r.SKU != "A1" {
		return Quote{}, service.Errorf(service.CodeNotFound, "no such sku: %s", r.SKU)
	}
	return Quote{SKU: r.SKU, Cents: 1200}, nil
}

// embeddedConn stands for service.Connect(ctx, url, nats.Name("billing")): the
// examples bring their own server.
func embeddedConn() (nc *nats.Conn, stop func()) {
	server, err := embedded.Start(embedded.Config{NoListen: true})
	if err != nil {
		log.Fatal(err)
	}
	if nc, err = embedded.ConnectInProcess(server); err != nil {
		log.Fatal(err)
	}
	return nc, func() {
		nc.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
}

// serve runs svc until stop is called.
func serve(svc *service.Service) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- svc.RunReady(ctx, func() { close(ready) }) }()
	<-ready
	return func() {
		cancel()
		if err := <-ended; err != nil {
			log.Fatal(err)
		}
	}
}

// A service handles events, answers calls, and stops when its context ends.
func Example() {
	nc, stop := embeddedConn()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	charged := make(chan string)
	svc, err := service.New(nc, service.Config{Name: "billing", Version: "1.2.0"},
		service.On(func(_ context.Context, e envelope.Event[OrderPlaced]) error { // durable, group "billing"
			charged <- fmt.Sprintf("charge %s: %d cents", e.Data.OrderID, e.Data.Cents)
			return nil
		}),
		service.Handle("quote", quoteOf),
	)
	if err != nil {
		log.Fatal(err)
	}
	go func() { // what a caller and a publisher elsewhere do
		q, err := service.Call[Quote](ctx, svc.Client(), "billing.quote", QuoteRequest{SKU: "A1"})
		for service.CodeOf(err) == service.CodeUnavailable { // not up yet
			q, err = service.Call[Quote](ctx, svc.Client(), "billing.quote", QuoteRequest{SKU: "A1"})
		}
		fmt.Println("quote:", q.Cents, err)
		_, err = svc.Publisher().Publish(ctx, OrderPlaced{OrderID: "o-1", Cents: q.Cents})
		fmt.Println("published:", err)
		fmt.Println(<-charged)
		cancel()
	}()
	fmt.Println("stopped:", svc.Run(ctx))
	// Output:
	// quote: 1200 <nil>
	// published: <nil>
	// charge o-1: 1200 cents
	// stopped: <nil>
}

func ExampleCall() {
	nc, stop := embeddedConn()
	defer stop()
	svc, err := service.New(nc, service.Config{Name: "billing"}, service.Handle("quote", quoteOf))
	if err != nil {
		log.Fatal(err)
	}
	defer serve(svc)()

	cl, err := service.NewClient(nc, service.ClientConfig{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second) // travels with the call
	defer cancel()
	q, err := service.Call[Quote](ctx, cl, "billing.quote", QuoteRequest{SKU: "A1"})
	fmt.Println(q, err)
	_, err = service.Call[Quote](ctx, cl, "shipping.quote", QuoteRequest{SKU: "A1"})
	fmt.Println(service.CodeOf(err), errors.Is(err, nats.ErrNoResponders))
	fmt.Println(cl.Close(ctx))
	// Output:
	// {A1 1200} <nil>
	// unavailable true
	// <nil>
}

func ExampleCast() {
	nc, stop := embeddedConn()
	defer stop()
	done := make(chan string)
	svc, err := service.New(nc, service.Config{Name: "billing"},
		service.Handle("remind", func(_ context.Context, order string) (struct{}, error) {
			done <- "reminded of " + order
			return struct{}{}, nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer serve(svc)()

	err = service.Cast(context.Background(), svc.Client(), "billing.remind", "o-1") // does not wait
	fmt.Println(err)
	fmt.Println(<-done)
	// Output:
	// <nil>
	// reminded of o-1
}

func ExampleToInstance() {
	nc, stop := embeddedConn()
	defer stop()
	whoami := func(id string) service.Part {
		return service.Handle("whoami", func(context.Context, struct{}) (string, error) { return id, nil })
	}
	for _, id := range []string{"left", "right"} {
		svc, err := service.New(nc, service.Config{Name: "billing", Instance: id}, whoami(id))
		if err != nil {
			log.Fatal(err)
		}
		defer serve(svc)()
	}
	cl, err := service.NewClient(nc, service.ClientConfig{})
	if err != nil {
		log.Fatal(err)
	}
	for _, id := range []string{"right", "left", "gone"} {
		got, err := service.Call[string](context.Background(), cl, "billing.whoami", struct{}{}, service.ToInstance(id))
		fmt.Printf("%q %v\n", got, service.CodeOf(err) == service.CodeUnavailable)
	}
	fmt.Println(cl.Close(context.Background()))
	// Output:
	// "right" false
	// "left" false
	// "" true
	// <nil>
}

// A handler classifies what its caller may know; all else stays in its log.
func ExampleErrorf() {
	nc, stop := embeddedConn()
	defer stop()
	svc, err := service.New(nc, service.Config{Name: "billing", Logger: slog.New(slog.DiscardHandler)},
		service.Handle("quote", quoteOf),
		service.Handle("broken", func(context.Context, struct{}) (int, error) {
			return 0, errors.New("dial db01.internal: password rejected")
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer serve(svc)()

	_, err = service.Call[Quote](context.Background(), svc.Client(), "billing.quote", QuoteRequest{SKU: "B7"})
	fmt.Println(err)
	fmt.Println(service.CodeOf(err) == service.CodeNotFound, service.IsRemote(err))
	_, err = service.Call[int](context.Background(), svc.Client(), "billing.broken", struct{}{})
	var e *service.Error
	fmt.Println(errors.As(err, &e), e.Code, e.Message, len(e.ID))
	// Output:
	// call billing.quote: not_found: no such sku: B7
	// true true
	// true internal internal error 10
}

func ExampleConnect() {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := service.Connect(ctx, "nats://127.0.0.1:1", nats.Name("billing"))
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output: true
}

// The probes of a platform are handlers of net/http, on whatever server the
// program has.
func ExampleService_Readyz() {
	nc, stop := embeddedConn()
	defer stop()
	svc, err := service.New(nc, service.Config{Name: "billing", Instance: "billing-1"}, service.Handle("quote", quoteOf))
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/healthz", svc.Healthz())
	mux.Handle("/readyz", svc.Readyz())
	probe := func() {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		fmt.Print(w.Code, " ", w.Body)
	}
	probe()
	defer serve(svc)()
	probe()
	// Output:
	// 503 {"service":"billing","instance":"billing-1","state":"idle","ready":false,"alive":true,"missing":["state: idle"]}
	// 200 {"service":"billing","instance":"billing-1","state":"ready","ready":true,"alive":true}
}

// A service says what it needs of the server: a value whose JSON `natsctl apply`
// makes, so that the service itself may run as somebody who may create nothing.
func ExampleService_Declaration() {
	// No server has to be there.
	nc, err := nats.Connect("nats://127.0.0.1:1", nats.RetryOnFailedConnect(true))
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	svc, err := service.New(nc,
		service.Config{Name: "billing", Version: "1.2.0", Durability: publish.PowerSafe, Provision: new(false)},
		service.On(func(context.Context, envelope.Event[OrderPlaced]) error { return nil }),
	)
	if err != nil {
		log.Fatal(err)
	}
	d := svc.Declaration() // json.NewEncoder(os.Stdout).Encode(d), for `natsctl apply -f -`
	for _, s := range d.Streams {
		if s.Name == "EVENTS" || s.Name == "RETRY_billing" {
			fmt.Println("stream", s.Name, s.Metadata["agner.durability"])
		}
	}
	for _, c := range d.Durables {
		fmt.Println("durable", c.Config.Durable, "on", c.Stream, "takes", c.Config.FilterSubject)
	}
	// Output:
	// stream EVENTS PowerSafe
	// stream RETRY_billing PowerSafe
	// durable billing_shop-order-placed-v1 on EVENTS takes events.shop.order.placed.v1.*
	// durable billing_shop-order-placed-v1 on RETRY_billing takes retry.billing.due.shop-order-placed-v1.*
}
