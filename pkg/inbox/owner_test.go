package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/inbox"
)

func owns(in *inbox.Inbox, n int) func() error {
	return func() error {
		if got := len(in.Owned()); got != n {
			return fmt.Errorf("%s owns %d partitions, want %d", in.Instance(), got, n)
		}
		return nil
	}
}

// checkCarts asks all entities for their items: 0 to n-1, in order.
func checkCarts(t *testing.T, to *inbox.Client, keys, n int) {
	t.Helper()
	ask := func(k int) error {
		key := "k" + strconv.Itoa(k)
		var got cart
		var err error
		for asked := time.Now(); time.Since(asked) < wait; {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			got, err = inbox.Ask[cart](ctx, to, key, getCart{})
			cancel()
			if err == nil {
				break
			}
		}
		if err == nil && got != (cart{Items: n}) {
			err = fmt.Errorf("%+v, want %d items in order", got, n)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", key, err)
		}
		return err
	}
	errs := make([]error, keys)
	var wg sync.WaitGroup
	for k := range keys {
		wg.Go(func() { errs[k] = ask(k) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// checkOutputs reads the events of each entity: one for each item, in order.
func checkOutputs(t *testing.T, js jetstream.JetStream, keys, n int) {
	t.Helper()
	eventually(t, func() error {
		all := outputs(t, js, "events.cart.changed.v1.*")
		if len(all) != keys {
			return fmt.Errorf("outputs of %d entities, want %d", len(all), keys)
		}
		for key, events := range all {
			if len(events) != n {
				return fmt.Errorf("%s: %d outputs, want %d", key, len(events), n)
			}
			for i, e := range events {
				if e.Items != i+1 {
					t.Fatalf("%s: output %d is %+v", key, i, e)
				}
			}
		}
		return nil
	})
}

// feed sends items 0, 1, 2… to each of the keys until it is stopped, and returns
// how many. It keeps the inbox busy and no more, for what it sends is read again
// at the end; in the long form it sends as fast as it can.
func feed(t *testing.T, to *inbox.Client, keys int) (stop func() int) {
	t.Helper()
	pace := 5 * time.Millisecond
	if long() {
		pace = time.Microsecond
	}
	end, done := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		defer func() { done <- n }()
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			for k := range keys {
				if _, err := to.SendAsync(context.Background(), "k"+strconv.Itoa(k), itemAdded{N: n}).Wait(context.Background()); err != nil {
					t.Errorf("send: %v", err)
				}
			}
			n++
		}
	}()
	return func() int {
		close(end)
		return <-done
	}
}

// TestElastic lets instances come and go under load: partitions follow, and each
// entity handles each message once, in order.
func TestElastic(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t)
	a, stopA := start(t, s.JetStream(t), quick(), adding(), showing())
	eventually(t, owns(a, 8))
	to := client(t, s.JetStream(t))
	stop := feed(t, to, 16)
	b, stopB := start(t, s.JetStream(t), quick(), adding(), showing())
	eventually(t, owns(b, 4))
	eventually(t, owns(a, 4))
	if err := stopA(); err != nil {
		t.Fatal(err)
	}
	eventually(t, owns(b, 8))
	c, _ := start(t, s.JetStream(t), quick(), adding(), showing())
	eventually(t, owns(c, 4))
	n := stop()
	checkCarts(t, to, 16, n)
	if err := stopB(); err != nil {
		t.Fatal(err)
	}
	checkCarts(t, to, 16, n)
	checkOutputs(t, s.JetStream(t), 16, n)
}

// TestStaleOwner cuts an owner off for longer than its lease while it has work:
// the server refuses its commits when it is back, and nothing is doubled.
func TestStaleOwner(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Listen())
	p := testserver.StartProxy(t, s.URL())
	a, _ := start(t, p.JetStream(t), quick(), adding(), showing())
	eventually(t, owns(a, 8))
	to := client(t, s.JetStream(t))
	stop := feed(t, to, 16)
	b, _ := start(t, s.JetStream(t), quick(), adding(), showing())
	eventually(t, owns(b, 4))
	rounds := 1
	if long() {
		rounds = 3
	}
	for range rounds {
		p.Hold(true)
		eventually(t, owns(b, 8))
		p.Hold(false)
		eventually(t, owns(a, 4))
		eventually(t, owns(b, 4))
	}
	n := stop()
	checkCarts(t, to, 16, n)
	if n == 0 {
		t.Error("nothing was sent")
	}
	checkOutputs(t, s.JetStream(t), 16, n)
}

// TestPartitionsAreFixed refuses a program with another number of partitions.
func TestPartitionsAreFixed(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	_, stop := start(t, js, quick(), adding())
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	cfg := quick()
	cfg.Partitions = 16
	in, err := inbox.New(js, cfg, adding())
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Run(t.Context()); !errors.Is(err, inbox.ErrPartitions) {
		t.Errorf("Run: %v", err)
	}
}
