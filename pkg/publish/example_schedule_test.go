package publish_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agner-go/agner/pkg/publish"
)

type OrderExpired struct {
	OrderID string `json:"order_id"`
}

func (OrderExpired) EventType() string  { return "shop.order.expired.v1" }
func (e OrderExpired) EventKey() string { return e.OrderID }

func ExampleAt() {
	ctx := context.Background()
	js, stop := connect()
	defer stop()

	pub, err := publish.New(js, publish.Config{Source: "/shop/checkout"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = pub.Close(ctx) }()

	// The server publishes it at that time, whatever is restarted until then.
	at := time.Date(2099, 1, 2, 3, 4, 5, 0, time.UTC)
	ack, err := pub.Publish(ctx, OrderExpired{OrderID: "o-1"}, publish.At(at), publish.WithScheduleID("expire-o-1"))
	fmt.Println(ack.Stream, ack.Schedule, err)

	for s, err := range pub.Schedules(ctx) {
		fmt.Println(s.ID, s.Type, s.Key, s.At.Format(time.RFC3339), err)
	}

	fmt.Println(pub.CancelSchedule(ctx, ack.Schedule))
	err = pub.CancelSchedule(ctx, ack.Schedule)
	fmt.Println(errors.Is(err, publish.ErrNoSchedule))
	// Output:
	// SCHEDULED expire-o-1 <nil>
	// expire-o-1 shop.order.expired.v1 o-1 2099-01-02T03:04:05Z <nil>
	// <nil>
	// true
}

func ExampleCron() {
	ctx := context.Background()
	js, stop := connect()
	defer stop()

	pub, err := publish.New(js, publish.Config{Source: "/shop/checkout"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = pub.Close(ctx) }()

	// Every instance declares it at its start: there is one schedule.
	for range 3 {
		ack, err := pub.Publish(ctx, OrderExpired{}, publish.Cron("0 9 * * 1-5", "Europe/Berlin"), publish.WithScheduleID("daily-sweep"))
		fmt.Println(ack.Schedule, ack.Duplicate, err)
	}
	// Output:
	// daily-sweep false <nil>
	// daily-sweep true <nil>
	// daily-sweep true <nil>
}

func ExampleIn() {
	ctx := context.Background()
	js, stop := connect()
	defer stop()

	pub, err := publish.New(js, publish.Config{Source: "/shop/checkout"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = pub.Close(ctx) }()

	// The id makes it one schedule for an order: a later In moves it.
	for range 2 {
		_, err = pub.Publish(ctx, OrderExpired{OrderID: "o-1"}, publish.In(30*time.Minute), publish.WithScheduleID("expire-o-1"))
		fmt.Println(err)
	}
	n := 0
	for _, err := range pub.Schedules(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		n++
	}
	fmt.Println(n, "pending")
	// Output:
	// <nil>
	// <nil>
	// 1 pending
}
