package demo

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

const patience = 20 * time.Second

// accounts is a server with its books, and the records of imagined handlers.
type accounts struct {
	t      *testing.T
	js     jetstream.JetStream
	books  *Books
	ledger *Ledger
	pub    *publish.Publisher
}

func open(t *testing.T) *accounts {
	t.Helper()
	a := &accounts{t: t, js: testserver.Start(t).JetStream(t), ledger: NewLedger()}
	shapes := &stream.Provisioner{JS: a.js, Logger: slog.New(slog.DiscardHandler)}
	if err := shapes.Ensure(t.Context(), stream.Scheduled(""), stream.Events(""), stream.Dead("")); err != nil {
		t.Fatal(err)
	}
	a.books = NewBooks(a.js)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.books.Read(ctx) }()
	var err error
	if a.pub, err = publish.New(a.js, publish.Config{Source: sourceOrders}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, a.pub.Close(context.WithoutCancel(ctx))); err != nil {
			t.Error(err)
		}
	})
	return a
}

// order stores an order and returns its sequence.
func (a *accounts) order(id string, opts ...publish.Option) uint64 {
	a.t.Helper()
	ack, err := a.pub.Publish(a.t.Context(), orderPlaced{OrderID: id, Cents: 1}, append(opts, publish.WithID(id))...)
	if err != nil {
		a.t.Fatal(err)
	}
	return ack.Sequence
}

func (a *accounts) handled(group, source, id string) {
	for _, what := range []string{runBegan, runHandled} {
		a.ledger.add(record{What: what, Group: group, Instance: group + "-1", Source: source, ID: id, Attempt: 1})
	}
}

func (a *accounts) raw(subject, data string, header nats.Header) {
	a.t.Helper()
	if _, err := a.js.PublishMsg(a.t.Context(), &nats.Msg{Subject: subject, Header: header, Data: []byte(data)}); err != nil {
		a.t.Fatal(err)
	}
}

// letter stores a dead letter of billing for a sequence of EVENTS.
func (a *accounts) letter(seq uint64) {
	a.t.Helper()
	a.raw("dead.billing."+typeOrderPlaced+"._", "{}", nats.Header{
		consume.HeaderDeadGroup: {billing}, consume.HeaderDeadSubscription: {"shop-order-placed-v1"},
		consume.HeaderDeadReason: {"exhausted"}, consume.HeaderDeadAttempts: {"3"}, consume.HeaderDeadRound: {"0"},
		consume.HeaderDeadStream: {"EVENTS"}, consume.HeaderDeadSequence: {strconv.FormatUint(seq, 10)},
		consume.HeaderDeadCreated: {"1"}, consume.HeaderDeadSubject: {"events." + typeOrderPlaced + "._"},
	})
}

func (a *accounts) strike() Balance {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	b, err := a.books.Strike(ctx, a.ledger)
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}

// The books are worth something only if they can show a loss.
func TestBalance(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		happen func(a *accounts)
		want   Balance
	}{
		"nothing": {func(*accounts) {}, Balance{}},
		"all is handled": {
			func(a *accounts) {
				for _, id := range []string{"a", "b", "c"} {
					a.order(id)
					a.handled(billing, sourceOrders, id)
				}
			},
			Balance{Published: 3, Handled: 3},
		},
		"one is handled by nobody": {
			func(a *accounts) {
				a.order("a")
				a.order("b")
				a.handled(billing, sourceOrders, "b")
			},
			Balance{Published: 2, Handled: 1, Lost: 1},
		},
		"handled by the wrong group": {
			func(a *accounts) {
				a.order("a")
				a.handled(notify, sourceOrders, "a")
			},
			Balance{Published: 1, Lost: 1},
		},
		"another event of that id": {
			func(a *accounts) {
				a.order("a")
				a.handled(billing, "/elsewhere", "a")
			},
			Balance{Published: 1, Lost: 1},
		},
		"began and never ended": {
			func(a *accounts) {
				a.order("a")
				a.ledger.add(record{What: runBegan, Group: billing, Source: sourceOrders, ID: "a"})
			},
			Balance{Published: 1, Lost: 1},
		},
		"one of two groups": {
			func(a *accounts) {
				if _, err := a.pub.Publish(a.t.Context(), paymentCaptured{OrderID: "a"}, publish.WithID("p"), publish.WithSource(sourceBilling)); err != nil {
					a.t.Fatal(err)
				}
				a.handled(notify, sourceBilling, "p")
			},
			Balance{Published: 1, Lost: 1},
		},
		"handled twice": {
			func(a *accounts) {
				a.order("a")
				a.handled(billing, sourceOrders, "a")
				a.handled(billing, sourceOrders, "a")
			},
			Balance{Published: 1, Handled: 1, Duplicates: 1},
		},
		"stored twice": {
			func(a *accounts) {
				a.order("a")
				m, err := envelope.Marshal(&envelope.Raw{Attributes: envelope.Attributes{ID: "a", Source: sourceOrders, Type: typeOrderPlaced}})
				if err != nil {
					a.t.Fatal(err)
				}
				a.raw("events."+typeOrderPlaced+".a", "{}", m.Header) // without a message id
				a.handled(billing, sourceOrders, "a")
			},
			Balance{Published: 1, Handled: 1, Duplicates: 1},
		},
		"a dead letter stands": {
			func(a *accounts) { a.letter(a.order("a")) },
			Balance{Published: 1, Dead: 1, Standing: 1},
		},
		"a dead letter is gone and the event not handled": {
			func(a *accounts) {
				a.letter(a.order("a"))
				a.strike() // the reader has seen it
				dead, err := a.js.Stream(a.t.Context(), "DEAD")
				if err == nil {
					err = dead.DeleteMsg(a.t.Context(), 1)
				}
				if err != nil {
					a.t.Fatal(err)
				}
			},
			Balance{Published: 1, Dead: 1, Lost: 1},
		},
		"from outside": {
			func(a *accounts) {
				a.order("a", publish.WithSource("/me"))
				a.handled(billing, "/me", "a")
				a.raw("events.what.ever._", "hello", nil)
				a.raw("events."+typeOrderPlaced+"._", "no event", nil)
				a.letter(3)
			},
			Balance{Published: 3, Handled: 1, Unsubscribed: 1, Outside: 3, Dead: 1, Standing: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := open(t)
			c.happen(a)
			got := a.strike()
			groups := got.Groups
			got.Groups = nil
			if gotText, want := compact(got), compact(c.want); gotText != want {
				t.Errorf("balance is\n%s, want\n%s\ngroups: %s", gotText, want, compact(groups))
			}
		})
	}
}

// What the server still holds for a group is pending, not lost.
func TestBalancePending(t *testing.T) {
	t.Parallel()
	a := open(t)
	release := make(chan struct{})
	c, err := consume.New(a.js, consume.Config{
		Group: billing, AckWait: time.Second, FirstDelay: 300 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	}, consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
		if e.Delivery.Attempt == 1 && e.Data.OrderID == "fails" {
			return consume.RetryAfter(time.Hour, errors.New("later"))
		}
		<-release
		a.handled(billing, e.Source, e.ID)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	a.order("waits")
	a.order("fails") // and then stands in the retry lane
	testserver.Eventually(t, patience, func() bool {
		s := c.Status().Subscriptions[0]
		return s.Running == 1 && s.Retried == 1
	}, "one runs, one waits for its retry")
	if b := a.strike(); b.Pending != 2 || b.Lost != 0 || b.Handled != 0 {
		t.Errorf("balance is %+v, want 2 pending", b)
	}
	close(release)
	testserver.Eventually(t, patience, func() bool {
		b := a.strike()
		return b.Handled == 1 && b.Pending == 1 && b.Lost == 0
	}, "one handled, one still in the lane")
}

func TestSettleGivesUp(t *testing.T) {
	t.Parallel()
	a := open(t)
	a.order("a")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	b, err := a.books.Settle(ctx, a.ledger)
	if err != nil || b.Lost != 1 {
		t.Errorf("Settle: %+v, %v, want the one lost", b, err)
	}
}
