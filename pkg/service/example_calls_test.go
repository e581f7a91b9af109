package service_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/agner-go/agner/pkg/service"
)

// fleetOf runs instances of a service, each with the parts made for it.
func fleetOf(ids []string, cfg service.Config, parts func(id string) []service.Part) (cl *service.Client, stop func()) {
	nc, stopServer := embeddedConn()
	stops := []func(){stopServer}
	for _, id := range ids {
		cfg.Instance = id
		svc, err := service.New(nc, cfg, parts(id)...)
		if err != nil {
			log.Fatal(err)
		}
		stops = append(stops, serve(svc))
	}
	cl, err := service.NewClient(nc, service.ClientConfig{})
	if err != nil {
		log.Fatal(err)
	}
	return cl, func() {
		if err := cl.Close(context.Background()); err != nil {
			log.Fatal(err)
		}
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
	}
}

// Each instance is asked what it has in memory. One that fails is named.
func ExampleGather() {
	cached := map[string]int{"left": 3, "right": 4}
	cl, stop := fleetOf([]string{"left", "right"}, service.Config{Name: "billing"}, func(id string) []service.Part {
		return []service.Part{service.Handle("cached", func(context.Context, struct{}) (int, error) {
			return cached[id], nil
		})}
	})
	defer stop()

	sum := 0
	for r, err := range service.Gather[int](context.Background(), cl, "billing.cached", struct{}{}, service.Replies(2)) {
		if err != nil {
			fmt.Println(r.Instance, err)
			continue
		}
		sum += r.Result
	}
	fmt.Println(sum)
	// Output: 7
}

// A listing that is read page by page comes from one instance, which keeps the
// place. When that instance is gone the caller is moved, and sees it.
func ExampleToSame() {
	cl, stop := fleetOf([]string{"left", "right"}, service.Config{Name: "billing"}, func(id string) []service.Part {
		page := 0
		return []service.Part{service.Handle("next-page", func(context.Context, struct{}) (int, error) {
			page++
			return page, nil
		}, service.WithConcurrency(1))}
	})
	defer stop()

	var reader service.Affinity
	for range 3 {
		page, err := service.Call[int](context.Background(), cl, "billing.next-page", struct{}{}, service.ToSame(&reader))
		fmt.Println(page, err)
	}
	fmt.Println(reader.Instance() == "left" || reader.Instance() == "right")
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 3 <nil>
	// true
}

// An instance that dies with a request leaves its caller without an answer. Where
// running twice does no harm, the call is made again.
func ExampleRetry() {
	silent := true
	cl, stop := fleetOf([]string{"only"}, service.Config{Name: "billing"}, func(string) []service.Part {
		return []service.Part{service.Handle("price", func(ctx context.Context, sku string) (string, error) {
			if silent {
				silent = false
				<-ctx.Done() // as if it had died
				return "", ctx.Err()
			}
			return sku + ": 12.00", nil
		}, service.WithIdempotent(), service.WithConcurrency(1))}
	})
	defer stop()

	price, err := service.Call[string](context.Background(), cl, "billing.price", "A1", service.Retry(50*time.Millisecond))
	fmt.Println(price, err)
	// Output: A1: 12.00 <nil>
}

// Interceptors of callers add, those of services check; both are one function.
func ExampleInterceptor() {
	check := func(next service.Invoker) service.Invoker {
		return func(ctx context.Context, r *service.Request) ([]byte, error) {
			if r.Header.Get("Token") != "secret" {
				return nil, service.Errorf(service.CodeUnauthenticated, "%s.%s wants a token", r.Service, r.Endpoint)
			}
			return next(ctx, r)
		}
	}
	present := func(next service.Invoker) service.Invoker {
		return func(ctx context.Context, r *service.Request) ([]byte, error) {
			r.Header.Set("Token", "secret")
			return next(ctx, r)
		}
	}
	nc, stop := embeddedConn()
	defer stop()
	svc, err := service.New(nc, service.Config{
		Name:         "billing",
		Interceptors: []service.Interceptor{check},
	}, service.Handle("quote", quoteOf))
	if err != nil {
		log.Fatal(err)
	}
	defer serve(svc)()

	for _, interceptors := range [][]service.Interceptor{nil, {present}} {
		cl, err := service.NewClient(nc, service.ClientConfig{Interceptors: interceptors})
		if err != nil {
			log.Fatal(err)
		}
		q, err := service.Call[Quote](context.Background(), cl, "billing.quote", QuoteRequest{SKU: "A1"})
		fmt.Println(q.Cents, err)
		if err := cl.Close(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 0 call billing.quote: unauthenticated: billing.quote wants a token
	// 1200 <nil>
}

// An endpoint runs so many requests at once, has so many wait, and refuses the
// rest at once: a caller learns in a millisecond what a timeout would tell it in
// seconds, and that nothing ran.
func ExampleWithQueue() {
	working, release := make(chan struct{}), make(chan struct{})
	nc, stop := embeddedConn()
	defer stop()
	svc, err := service.New(nc, service.Config{Name: "billing"},
		service.Handle("report", func(context.Context, struct{}) (string, error) {
			working <- struct{}{}
			<-release
			return "done", nil
		}, service.WithConcurrency(1), service.WithQueue(0)))
	if err != nil {
		log.Fatal(err)
	}
	defer serve(svc)()

	first := make(chan string)
	go func() {
		text, err := service.Call[string](context.Background(), svc.Client(), "billing.report", struct{}{})
		first <- fmt.Sprint(text, " ", err)
	}()
	<-working
	_, err = service.Call[string](context.Background(), svc.Client(), "billing.report", struct{}{})
	fmt.Println(err)
	close(release)
	fmt.Println(<-first)
	// Output:
	// call billing.report: unavailable: report of this instance takes no more requests
	// done <nil>
}
