package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

// quiet keeps log records out of the examples' output. Without it they go to
// slog.Default().
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// A tree of three: the database comes first, and when it is up, a group in
// which the cache is restarted with what depends on it.
func Example() {
	serve := func(name string) supervise.Runner {
		return supervise.ReadyFunc(func(ctx context.Context, ready func()) error {
			fmt.Println("start", name)
			ready() // the next child starts now
			<-ctx.Done()
			fmt.Println("stop", name)
			return ctx.Err()
		})
	}
	web, err := supervise.New(supervise.Config{Name: "web", Strategy: supervise.RestForOne},
		supervise.Child{Name: "cache", Runner: serve("cache")},
		supervise.Child{Name: "http", Runner: serve("http"), Shutdown: 20 * time.Second},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	shop, err := supervise.New(supervise.Config{Name: "shop", Logger: quiet()},
		supervise.Child{Name: "db", Runner: serve("db")},
		supervise.Child{Runner: web},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background()) // signal.NotifyContext in a program
	err = shop.RunReady(ctx, func() {
		fmt.Println("all up")
		cancel()
	})
	fmt.Println("error:", err)
	// Output:
	// start db
	// start cache
	// start http
	// all up
	// stop http
	// stop cache
	// stop db
	// error: <nil>
}

// A pool of workers that come and go. They do not depend on each other, so they
// stop all at once. The list of workers is owned by the program: a supervisor
// that is restarted begins without those that were added.
func Example_pool() {
	pool, err := supervise.New(supervise.Config{
		Name: "pool", Strategy: supervise.SimpleOneForOne, Logger: quiet(),
		Template: func(tenant string) (supervise.Child, error) {
			return supervise.Child{
				Restart:  supervise.Transient, // a worker that has finished stays finished
				Shutdown: time.Second,
				Runner: supervise.RunnerFunc(func(ctx context.Context) error {
					<-ctx.Done() // work for the tenant
					return ctx.Err()
				}),
			}, nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	up, done := make(chan struct{}), make(chan error)
	go func() { done <- pool.RunReady(ctx, func() { close(up) }) }()
	<-up

	for _, tenant := range []string{"acme", "globex", "initech"} {
		if err := pool.StartTemplate(ctx, tenant); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println("again:", errors.Is(pool.StartTemplate(ctx, "acme"), supervise.ErrExists))
	if err := pool.Remove(ctx, "globex"); err != nil {
		fmt.Println(err)
	}
	for _, worker := range pool.Status().Children {
		fmt.Println(worker.Path, worker.State)
	}
	cancel()
	fmt.Println("error:", <-done)
	// Output:
	// again: true
	// pool/acme running
	// pool/initech running
	// error: <nil>
}

// A child that ignores its context is named, with what it is doing.
func ExampleStuckError() {
	release := make(chan struct{})
	shop, err := supervise.New(supervise.Config{Name: "example-shop", Logger: quiet()},
		supervise.Child{Name: "db", Runner: supervise.RunnerFunc(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})},
		supervise.Child{
			Name: "billing", Shutdown: 10 * time.Millisecond,
			Runner: supervise.RunnerFunc(func(context.Context) error { return chargeForEver(release) }),
		},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = shop.RunReady(ctx, cancel)
	var unclean *supervise.ShutdownError
	if errors.As(err, &unclean) {
		for _, stuck := range unclean.Stuck {
			fmt.Println("stuck:", stuck.Path)
			fmt.Println("goroutines:", stuck.Goroutines)
			fmt.Println("in chargeForEver:", strings.Contains(stuck.Stacks, "chargeForEver"))
		}
	}
	close(release)
	// Output:
	// stuck: example-shop/billing
	// goroutines: 1
	// in chargeForEver: true
}

//go:noinline
func chargeForEver(release chan struct{}) error {
	<-release
	return nil
}

// A broker that is away is nobody's failure: while the gate is closed children
// that fail are parked, and use no budget.
func ExampleLatch() {
	var broker supervise.Latch
	broker.SetOpen(false) // in the handler for a lost connection
	tried := make(chan struct{})
	loop := supervise.RunnerFunc(func(ctx context.Context) error {
		tried <- struct{}{}
		if !broker.Open() {
			return errors.New("not connected")
		}
		<-ctx.Done()
		return ctx.Err()
	})
	parked := make(chan struct{})
	sup, err := supervise.New(supervise.Config{
		Gate: &broker, MaxRestarts: -1, Logger: quiet(), // one crash would be too many
		OnEvent: func(e supervise.Event) {
			if e.To == supervise.StateParked {
				fmt.Println(e.Path, e.To)
				close(parked)
			}
		},
	}, supervise.Child{Name: "loop", Runner: loop})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- sup.Run(ctx) }()
	<-tried
	<-parked
	broker.SetOpen(true) // in the handler for the connection that is back
	<-tried
	fmt.Println("working again, restarts used:", sup.Status().Supervisor.RestartsUsed)
	cancel()
	fmt.Println("error:", <-done)
	// Output:
	// root/loop parked
	// working again, restarts used: 0
	// error: <nil>
}
