package presence_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/embedded"
	"github.com/agner-go/agner/internal/presence"
)

// One claims a key, another is refused until it is free.
func Example() {
	ctx := context.Background()
	if err := example(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// the key is held
	// the key is free
}

func example(ctx context.Context) (err error) {
	srv, err := embedded.Start(embedded.Config{NoListen: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Shutdown(ctx)) }()
	nc, err := srv.ConnectInProcess()
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	b, err := presence.Open(ctx, js, presence.Config{Name: "OWNERS"})
	if err != nil {
		return err
	}
	mine, err := b.Claim(ctx, "carts.7", []byte("worker-1"))
	if err != nil {
		return err
	}
	if err := mine.Renew(ctx, []byte("worker-1")); err != nil { // before b.TTL() has passed
		return err
	}
	if _, err := b.Claim(ctx, "carts.7", []byte("worker-2")); errors.Is(err, presence.ErrHeld) {
		fmt.Println("the key is held")
	}
	if err := mine.Release(ctx); err != nil {
		return err
	}
	if _, err := b.Claim(ctx, "carts.7", []byte("worker-2")); err != nil {
		return err
	}
	fmt.Println("the key is free")
	return nil
}
