package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/inbox"
	"github.com/agner-go/agner/pkg/publish"
)

type orderPlaced struct {
	ID   string `json:"id"`
	User string `json:"user"`
	N    int    `json:"n"`
}

func (orderPlaced) EventType() string  { return "shop.order.placed.v1" }
func (o orderPlaced) EventKey() string { return o.ID }

type orderPaid struct{ orderPlaced }

func (orderPaid) EventType() string { return "shop.order.paid.v1" }

// TestSubscribedEvents brings domain events into the mailbox: by their own key,
// and by a function of the event.
func TestSubscribedEvents(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	in, _ := start(
		t, js, quick(),
		inbox.On(func(_ context.Context, tx *inbox.Tx[cart], e envelope.Event[orderPlaced]) error {
			if tx.Key != e.Data.User || e.Data.N != tx.State.Items {
				tx.State.Wrong++
			}
			tx.State.Items++
			return nil
		}, inbox.SubscribedBy(func(e envelope.Event[orderPlaced]) string { return e.Data.User })),
		inbox.On(func(_ context.Context, tx *inbox.Tx[cart], e envelope.Event[orderPaid]) error {
			if tx.Key != e.Data.ID {
				tx.State.Wrong++
			}
			tx.State.Items++
			return nil
		}, inbox.Subscribed()),
	)
	pub, err := publish.New(js, publish.Config{Source: "/test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pub.Close(context.Background()) }()
	const n = 30
	for i := range n {
		// One key of its own, so that their order is known.
		if _, err := pub.Publish(t.Context(), orderPlaced{ID: "o", User: "ann", N: i}); err != nil {
			t.Fatal(err)
		}
		if _, err := pub.Publish(t.Context(), orderPaid{orderPlaced{ID: "p-" + strconv.Itoa(i%3)}}); err != nil {
			t.Fatal(err)
		}
	}
	for key, want := range map[string]cart{"ann": {Items: n}, "p-0": {Items: n / 3}, "p-1": {Items: n / 3}, "p-2": {Items: n / 3}} {
		eventually(t, func() error {
			got, err := inbox.Read[cart](t.Context(), in, key)
			if err == nil && got != want {
				err = fmt.Errorf("%s: %+v, want %+v", key, got, want)
			}
			return err
		})
	}
	var keys []string
	for key, err := range in.Keys(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	if got := strings.Join(keys, " "); got != "ann p-0 p-1 p-2" {
		t.Errorf("keys %s", got)
	}
}

// failing fails as an item says: it is handled all the same, later or never.
func failing(runs *atomic.Int64) inbox.Handler {
	return inbox.On(func(_ context.Context, tx *inbox.Tx[cart], e envelope.Event[itemAdded]) error {
		tx.State.Items++
		tx.Publish(cartChanged{CartID: tx.Key, Items: tx.State.Items})
		switch {
		case e.Data.N == 1 && runs.Add(1) < 3:
			return errors.New("not yet")
		case e.Data.N == 2 && runs.Add(1) < 6:
			panic("not yet")
		case e.Data.N == 3:
			return inbox.DeadLetter(errors.New("never"))
		}
		return nil
	})
}

// TestFailures has handlers fail in all ways: nothing of a failed run is kept,
// what cannot succeed is a dead letter, and the messages behind it are handled.
func TestFailures(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	var runs atomic.Int64
	start(t, js, quick(), failing(&runs), showing())
	to := client(t, js)
	for n := range 5 {
		if err := to.Send(t.Context(), "k", itemAdded{N: n}); err != nil {
			t.Fatal(err)
		}
	}
	// What is no event at all, and what the handler's type cannot take.
	if _, err := js.Publish(t.Context(), "inbox.carts.k", []byte("?")); err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "inbox.carts.k", Data: []byte(`"x"`), Header: nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/x"}, "ce-type": {"cart.item.added.v1"},
	}}); err != nil {
		t.Fatal(err)
	}
	got, err := inbox.Ask[cart](t.Context(), to, "k", getCart{})
	if err != nil || got.Items != 4 {
		t.Errorf("%+v, %v, want 4 items", got, err)
	}
	eventually(t, func() error {
		all := outputs(t, js, "events.cart.changed.v1.*")["k"]
		for i, e := range all {
			if e.Items != i+1 {
				t.Fatalf("output %d is %+v", i, e)
			}
		}
		if len(all) != 4 {
			return fmt.Errorf("%d outputs, want 4", len(all))
		}
		return nil
	})
	dead, err := js.Stream(t.Context(), "DEAD")
	if err != nil {
		t.Fatal(err)
	}
	var reasons []string
	for seq := uint64(1); seq <= dead.CachedInfo().State.LastSeq; seq++ {
		m, err := dead.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		reasons = append(reasons, m.Header.Get("Agner-Dead-Reason"))
	}
	if got := strings.Join(reasons, " "); got != "rejected invalid undecodable" {
		t.Errorf("dead letters: %s", got)
	}
}

// TestAnswers has questions refused and failed: the asker learns it, and nothing
// of the handler's run is kept.
func TestAnswers(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	start(t, js, quick(), inbox.Answer(func(_ context.Context, tx *inbox.Tx[cart], q itemAdded) (int, error) {
		tx.State.Items++
		switch q.N {
		case 1:
			return 0, inbox.Refuse("no %d", 1)
		case 2:
			return 0, errors.New("secret")
		case 3:
			panic("secret")
		}
		return tx.State.Items, nil
	}))
	to := client(t, js)
	for n, want := range []string{"", "no 1", "failed", "failed", ""} {
		got, err := inbox.Ask[int](t.Context(), to, "k", itemAdded{N: n})
		switch {
		case want == "" && (err != nil || got != n/4+1):
			t.Errorf("%d: %d, %v", n, got, err)
		case want != "" && (!errors.Is(err, inbox.ErrAnswer) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret")):
			t.Errorf("%d: %v, want %s", n, err, want)
		}
	}
	// Long enough for the question to be stored, however busy the machine is.
	for patience := 50 * time.Millisecond; ; patience *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := inbox.Ask[int](ctx, to, "k", orderPlaced{})
		cancel()
		if errors.Is(err, inbox.ErrNoAnswer) {
			break
		}
		if err == nil || patience > wait {
			t.Fatalf("question without a handler: %v", err)
		}
	}
}

// TestSendAndDelete has entities send to each other and delete themselves.
func TestSendAndDelete(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	in, _ := start(
		t, js, quick(),
		inbox.On(func(_ context.Context, tx *inbox.Tx[cart], e envelope.Event[itemAdded]) error {
			tx.State.Items++
			if e.Data.N > 0 {
				tx.Send("hop "+strconv.Itoa(e.Data.N-1), itemAdded{N: e.Data.N - 1})
				return nil
			}
			tx.Delete()
			return nil
		}),
	)
	to := client(t, js)
	for range 3 {
		if err := to.Send(t.Context(), "hop 10", itemAdded{N: 10}); err != nil {
			t.Fatal(err)
		}
	}
	for hop := range 11 {
		key, want := "hop "+strconv.Itoa(hop), cart{Items: 3}
		eventually(t, func() error {
			got, err := inbox.Read[cart](t.Context(), in, key)
			if hop == 0 {
				if !errors.Is(err, inbox.ErrNotFound) {
					return fmt.Errorf("%s: %+v, %w", key, got, err)
				}
				return nil
			}
			if err == nil && got != want {
				err = fmt.Errorf("%s: %+v, want %+v", key, got, want)
			}
			return err
		})
	}
}
