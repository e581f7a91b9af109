package natstest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/natstest"
	"github.com/agner-go/agner/pkg/publish"
)

type OrderPlaced struct {
	OrderID string `json:"order_id"`
	Cents   int64  `json:"cents"`
}

func (OrderPlaced) EventType() string  { return "shop.order.placed.v1" }
func (e OrderPlaced) EventKey() string { return e.OrderID }

// WrongShape is published as an order and cannot be decoded as one.
type WrongShape struct {
	Cents string `json:"cents"`
}

func (WrongShape) EventType() string { return "shop.order.placed.v1" }

func returns(err error) consume.Subscription {
	return consume.On(func(context.Context, envelope.Event[OrderPlaced]) error { return err })
}

func TestHandle(t *testing.T) {
	errBank := errors.New("the bank is closed")
	tests := map[string]struct {
		sub     consume.Subscription
		payload envelope.Payload
		opts    []natstest.HandleOption

		kind    natstest.Kind
		reason  string
		attempt int
		err     error
		panics  bool
		after   [2]time.Duration
	}{
		"nil acks": {sub: returns(nil), kind: natstest.Acked, attempt: 1},
		"an error retries": {
			sub: returns(errBank), kind: natstest.Retried, attempt: 1, err: errBank,
			after: [2]time.Duration{time.Second / 2, time.Second},
		},
		"a later attempt waits longer": {
			sub: returns(errBank), opts: []natstest.HandleOption{natstest.Attempt(3)},
			kind: natstest.Retried, attempt: 3, err: errBank, after: [2]time.Duration{2 * time.Second, 4 * time.Second},
		},
		"retry after": {
			sub: returns(consume.RetryAfter(time.Hour, errBank)), kind: natstest.Retried, attempt: 1, err: errBank,
			after: [2]time.Duration{time.Hour - time.Second, time.Hour + time.Second},
		},
		"the last attempt dies": {
			sub:  returns(errBank),
			opts: []natstest.HandleOption{natstest.Attempt(2), natstest.WithConfig(consume.Config{MaxAttempts: 2})},
			kind: natstest.Dead, reason: "exhausted", attempt: 2, err: errBank,
		},
		"dead letter": {
			sub: returns(consume.DeadLetter(errBank)), kind: natstest.Dead, reason: "rejected", attempt: 1, err: errBank,
		},
		"discard": {sub: returns(consume.Discard(errBank)), kind: natstest.Discarded, attempt: 1, err: errBank},
		"a panic retries": {
			sub:  consume.On(func(context.Context, envelope.Event[OrderPlaced]) error { panic("no till") }),
			kind: natstest.Retried, attempt: 1, panics: true, after: [2]time.Duration{time.Second / 2, time.Second},
		},
		"wrong data die undelivered": {
			sub: returns(nil), payload: WrongShape{Cents: "many"},
			kind: natstest.Dead, reason: "undecodable", attempt: 1,
		},
		"a handler that outlasts its timeout": {
			sub: consume.On(func(ctx context.Context, _ envelope.Event[OrderPlaced]) error {
				<-ctx.Done()
				return ctx.Err()
			}, consume.WithHandlerTimeout(time.Minute)),
			kind: natstest.Retried, attempt: 1, err: context.DeadlineExceeded, after: [2]time.Duration{time.Second / 2, time.Second},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, env *natstest.Env) {
				t.Helper()
				payload := tt.payload
				if payload == nil {
					payload = OrderPlaced{OrderID: "o-1", Cents: 500}
				}
				out := env.Handle(tt.sub, payload, tt.opts...)
				if out.Kind != tt.kind || out.Reason() != tt.reason || out.Attempt != tt.attempt || out.Panicked != tt.panics {
					t.Errorf("outcome %+v (%s), want %s, reason %q, attempt %d, panicked %t", out, out, tt.kind, tt.reason, tt.attempt, tt.panics)
				}
				if tt.err != nil && !errors.Is(out.Err, tt.err) {
					t.Errorf("error %v, want %v", out.Err, tt.err)
				}
				if out.After < tt.after[0] || out.After > tt.after[1] {
					t.Errorf("after %s, want %s to %s", out.After, tt.after[0], tt.after[1])
				}
			})
		})
	}
}

// One Env serves several Handles, in real time, each apart from the others.
func TestHandleInRealTime(t *testing.T) {
	t.Parallel()
	env := natstest.New(t)
	pub, err := publish.New(env.JetStream(), publish.Config{Source: "/test"})
	if err != nil {
		t.Fatal(err)
	}
	forward := consume.On(func(ctx context.Context, e envelope.Event[OrderPlaced]) error {
		_, err := pub.Publish(ctx, Receipt{OrderID: e.Data.OrderID})
		return err
	})
	for _, id := range []string{"o-1", "o-2"} {
		out := env.Handle(forward, OrderPlaced{OrderID: id}, natstest.WithPublish(publish.WithID(id)))
		if out.Kind != natstest.Acked {
			t.Error(out)
		}
		natstest.RequirePublished(env, func(e envelope.Event[Receipt]) bool { return e.Data.OrderID == id })
	}
	if n := len(natstest.Published[Receipt](env)); n != 2 {
		t.Errorf("%d receipts, want 2", n)
	}
	if n := len(natstest.Published[OrderPlaced](env)); n != 0 {
		t.Errorf("the orders of Handle are seen: %d", n)
	}
}

func TestOutcomeSaysWhatHappened(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, env *natstest.Env) {
		t.Helper()
		out := env.Handle(returns(consume.DeadLetter(errors.New("no such account"))), OrderPlaced{OrderID: "o-1"})
		for _, want := range []string{"dead", "rejected", "no such account"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q does not say %q", out, want)
			}
		}
	})
}

type Receipt struct {
	OrderID string `json:"order_id"`
}

func (Receipt) EventType() string { return "shop.receipt.sent.v1" }
