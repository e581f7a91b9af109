package natstest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/natstest"
)

var errNoFunds = errors.New("no funds")

// charge is the handler under test.
func charge(_ context.Context, e envelope.Event[OrderPlaced]) error {
	if e.Data.Cents > 10_000 {
		return errNoFunds
	}
	return nil
}

// A test of one handler: what becomes of an order that cannot be paid, at first
// and in the end. It runs in fake time, so that ten attempts take none.
func ExampleBubble() {
	_ = func(t *testing.T) { // func TestCharge(t *testing.T)
		t.Helper()
		natstest.Bubble(t, func(t *testing.T, env *natstest.Env) {
			t.Helper()
			order := OrderPlaced{OrderID: "o-1", Cents: 20_000}

			first := env.Handle(consume.On(charge), order)
			if first.Kind != natstest.Retried || first.After > time.Second {
				t.Error("first attempt:", first)
			}
			last := env.Handle(consume.On(charge), order, natstest.Attempt(10))
			if last.Reason() != "exhausted" {
				t.Error("last attempt:", last)
			}
		})
	}
	// Output:
}
