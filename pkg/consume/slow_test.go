package consume_test

import (
	"context"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// Fake time: three ack deadlines pass under each handler, and the machine's
// load has no say.
func TestSlowHandlerIsRunOnce(t *testing.T) { //nolint:paralleltest // bubbles must not overlap
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
		t.Helper()
		b := &bundle{js: s.JetStream(t)}
		b.streams(t)
		b.place(t, 1000)
		got := newTally()
		cfg := quick()
		cfg.AckWait, cfg.Concurrency = 10*time.Second, 500
		all := make(chan struct{}, 2000)
		_, stop := start(t, b.js, cfg, consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
			got.add(e.ID)
			<-time.After(35 * time.Second)
			all <- struct{}{}
			return nil
		}))
		for range 1000 {
			<-all
		}
		testserver.Eventually(t, 10*time.Minute, func() error { return b.idle(t, "EVENTS") }, "not all settled")
		if err := got.each(1000, 1); err != nil {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
