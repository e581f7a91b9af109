package demo

// Types of the shop's events.
const (
	typeOrderPlaced     = "shop.order.placed.v1"
	typePaymentCaptured = "shop.payment.captured.v1"
)

// Services of the shop, which are the names of their consumer groups too.
const (
	orders  = "orders"
	billing = "billing"
	notify  = "notify"
)

// Sources of the shop's own events; all others come from outside.
const (
	sourceOrders  = "/" + orders
	sourceBilling = "/" + billing
)

// groupsOf says which groups handle a type.
func groupsOf(typ string) []string {
	switch typ {
	case typeOrderPlaced:
		return []string{billing}
	case typePaymentCaptured:
		return []string{notify, orders}
	}
	return nil
}

// orderPlaced says that a customer has ordered.
type orderPlaced struct {
	OrderID  string `json:"order_id"`
	Cents    int64  `json:"cents"`
	Currency string `json:"currency,omitempty"` // default EUR
	// Simulate is "panic" for an order on which billing panics once.
	Simulate string `json:"simulate,omitempty"`
}

func (orderPlaced) EventType() string  { return typeOrderPlaced }
func (e orderPlaced) EventKey() string { return e.OrderID }

// paymentCaptured says that an order is paid.
type paymentCaptured struct {
	OrderID  string `json:"order_id"`
	Cents    int64  `json:"cents"`
	Currency string `json:"currency"`
}

func (paymentCaptured) EventType() string  { return typePaymentCaptured }
func (e paymentCaptured) EventKey() string { return e.OrderID }

// statusRequest and status are those of the call orders.status.
type statusRequest struct {
	OrderID string `json:"order_id"`
}

type status struct {
	OrderID string `json:"order_id"`
	State   string `json:"state"` // placed or paid
}

// quoteRequest and quote are those of the call billing.quote.
type quoteRequest struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

type quote struct {
	SKU      string `json:"sku"`
	Cents    int64  `json:"cents"`
	Currency string `json:"currency"`
	Instance string `json:"instance"` // that answered
}
