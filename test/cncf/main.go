// Command cncf is a program of the CNCF SDK and its NATS binding that was
// written after docs/wire.md. It imports nothing of Agner.
//
//	cncf publish URL N      publish N orders
//	cncf handle URL N       print the next N orders as JSON lines
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	cejetstream "github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/client"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
)

const (
	eventsStream = "EVENTS"
	orderType    = "shop.order.placed.v1"
	orders       = "events." + orderType + "."
)

type order struct {
	OrderID string `json:"order_id"`
	Cents   int64  `json:"cents"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cncf:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("use: cncf publish|handle URL N")
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	switch args[0] {
	case "publish":
		return publish(ctx, args[1], n)
	case "handle":
		return handle(ctx, args[1], n)
	}
	return fmt.Errorf("no command %q", args[0])
}

// publish sends each order on the subject of its key: the SDK's sender has one
// subject, so there is one for each.
func publish(ctx context.Context, url string, n int) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	for i := range n {
		o := order{OrderID: "cncf-" + strconv.Itoa(i), Cents: int64(i)}
		e := event.New()
		e.SetID("cncf/" + strconv.Itoa(i))
		e.SetSource("https://example.com/cncf")
		e.SetType(orderType)
		e.SetExtension("partitionkey", o.OrderID)
		if err := e.SetData(event.ApplicationJSON, o); err != nil {
			return err
		}
		sender, err := cejetstream.NewSenderFromConn(nc, eventsStream, orders+o.OrderID, nil)
		if err != nil {
			return err
		}
		c, err := client.New(sender)
		if err != nil {
			return err
		}
		if err := c.Send(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func handle(ctx context.Context, url string, n int) error {
	consumer, err := cejetstream.NewConsumer(url, eventsStream, orders+"*", nil, nil,
		[]nats.SubOpt{nats.Durable("cncf"), nats.AckExplicit()})
	if err != nil {
		return err
	}
	c, err := client.New(consumer, client.WithPollGoroutines(1), client.WithBlockingCallback())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := json.NewEncoder(os.Stdout)
	var failed error
	err = c.StartReceiver(ctx, func(e event.Event) {
		if err := out.Encode(e); err != nil {
			failed = err
			n = 0
		}
		if n--; n <= 0 {
			cancel()
		}
	})
	return errors.Join(err, failed)
}
