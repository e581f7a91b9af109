package main

import "fmt"

// Order is the payload of every event and call: 256 bytes of JSON, whatever
// its number is.
type Order struct {
	OrderID  string `json:"order_id"`
	Customer string `json:"customer"`
	Cents    int64  `json:"cents"`
	Currency string `json:"currency"`
	Express  bool   `json:"express"`
	Note     string `json:"note"`
}

const (
	orderType   = "shop.order.placed.v1"
	orderSource = "/shop/checkout"
	orderBytes  = 256

	// firstCents leaves every amount nine digits long.
	firstCents = 100_000_000
)

// EventType implements envelope.Payload.
func (Order) EventType() string { return orderType }

// EventKey implements envelope.Keyed: every order has a customer of its own,
// unless a work says otherwise.
func (o Order) EventKey() string { return o.Customer }

// order makes the i-th order.
func order(i int) Order {
	return Order{
		OrderID:  fmt.Sprintf("order-%09d", i),
		Customer: fmt.Sprintf("customer-%06d", i),
		Cents:    firstCents + int64(i),
		Currency: "EUR",
		Express:  true,
		Note:     note,
	}
}

// orders makes the first n, before the clock starts.
func orders(n int) []Order {
	out := make([]Order, n)
	for i := range out {
		out[i] = order(i)
	}
	return out
}

// fewCustomers gives the orders to that many customers, in turn: events of one
// key then follow each other closely, and a publisher's promise of their order
// costs what it costs.
func fewCustomers(all []Order, customers int) {
	for i := range all {
		all[i].Customer = all[i%customers].Customer
	}
}

// note fills the JSON up to orderBytes; the tests say whether it does.
const note = "leave it at the door leave it at the door leave it at the door leave it at the door leave it at the door leave it at the door leave it at"

// answer is what an endpoint returns for an order.
func answer(o Order) Order {
	o.Cents++
	return o
}

// eventID is the id of the i-th event that a consumer finds in the stream, as
// long as a generated one.
func eventID(i int) string { return fmt.Sprintf("%022d", i) }
