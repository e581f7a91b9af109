package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/inbox"
)

// TestLostAnswers loses the answers to commits and to relays that were stored,
// and then whole connections: what was stored is found, and nothing is doubled.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Listen())
	p := testserver.StartProxy(t, s.URL())
	in, _ := start(t, p.JetStream(t), quick(), adding(), showing())
	eventually(t, owns(in, 8))
	to := client(t, s.JetStream(t))
	stop := feed(t, to, 16)
	faults := []testserver.Fault{
		{Match: testserver.Published("state.carts.>"), Nth: 40, Action: testserver.Drop},
		{Match: testserver.Answered("state.carts.>"), Nth: 3, Action: testserver.CutAfter},
		{Match: testserver.Answered("state.carts.>"), Nth: 2, Action: testserver.CutBefore},
		{Match: testserver.Answered("events.>"), Nth: 2, Action: testserver.CutBefore},
	}
	if long() {
		faults = append(
			faults,
			testserver.Fault{Match: testserver.Published("state.carts.>"), Nth: 30, Action: testserver.CutBefore},
			testserver.Fault{Match: testserver.Published("events.>"), Nth: 20, Action: testserver.CutAfter},
			testserver.Fault{Match: testserver.Answered("state.carts.>"), Nth: 1, Action: testserver.Drop},
			testserver.Fault{Match: testserver.Delivered("inbox.carts.>"), Nth: 5, Action: testserver.Drop},
		)
	}
	for _, f := range faults {
		hit := p.Inject(f)
		select {
		case <-hit.Hit():
		case <-time.After(wait):
			t.Errorf("fault %+v did not hit", f)
		}
		hit.Remove()
	}
	n := stop()
	checkCarts(t, to, 16, n)
	checkOutputs(t, s.JetStream(t), 16, n)
	if st := in.Status(); st.Resolved == 0 {
		t.Errorf("no commit in doubt was resolved: %+v", st)
	}
}

// TestHungHandler has a handler ignore its deadline: its partition goes to
// another instance, and its late return changes nothing.
func TestHungHandler(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t)
	cfg := quick()
	cfg.HandlerTimeout = 200 * time.Millisecond
	release, entered := make(chan struct{}), make(chan struct{}, 1)
	hanging := inbox.On(func(ctx context.Context, tx *inbox.Tx[cart], _ envelope.Event[itemAdded]) error {
		tx.State.Items += 100
		select {
		case entered <- struct{}{}:
			<-release // whatever the context says
		case <-ctx.Done():
			return errors.New("a second time")
		}
		return nil
	})
	a, stopA := start(t, s.JetStream(t), cfg, hanging, showing())
	eventually(t, owns(a, 8))
	to := client(t, s.JetStream(t))
	if err := to.Send(t.Context(), "k0", itemAdded{}); err != nil {
		t.Fatal(err)
	}
	<-entered
	b, _ := start(t, s.JetStream(t), cfg, adding(), showing())
	checkCarts(t, to, 1, 1)
	close(release)
	if err := stopA(); err != nil {
		t.Error(err)
	}
	eventually(t, owns(b, 8))
	checkCarts(t, to, 1, 1)
	if a.Status().Hung == 0 {
		t.Error("the handler was not found")
	}
}

// TestTypeIsAdded adds a subscribed type while events come: the events of the
// types before are neither lost nor repeated.
func TestTypeIsAdded(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t)
	js := s.JetStream(t)
	in, stopIn := start(t, js, quick(), ordered[orderPlaced](inbox.Subscribed()))
	pub := eventsTo(t, js)
	for n := range 50 {
		pub(orderPlaced{ID: "k", N: n})
	}
	more, _ := start(t, js, quick(), ordered[orderPlaced](inbox.Subscribed()), ordered[orderPaid](inbox.Subscribed()))
	for n := 50; n < 150; n++ {
		pub(orderPlaced{ID: "k", N: n})
		pub(orderPaid{orderPlaced{ID: "p", N: n - 50}})
	}
	if err := stopIn(); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]cart{"k": {Items: 150}, "p": {Items: 100}} {
		eventually(t, func() error {
			got, err := inbox.Read[cart](t.Context(), more, key)
			if err == nil && got != want {
				err = fmt.Errorf("%s: %+v, want %+v", key, got, want)
			}
			return err
		})
	}
	_ = in
}
