package consume_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/supervise"
)

// When one subscription fails until the supervisor gives up, the others drain
// side by side: none pulls on while it waits for its turn.
func TestGiveUpDrainsSideBySide(t *testing.T) { //nolint:paralleltest // bubbles must not overlap
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
		t.Helper()
		b := &bundle{js: s.JetStream(t)}
		b.streams(t)
		b.place(t, 30)
		const work = 10 * time.Second
		slow := func(name string) consume.Subscription {
			return consume.On(func(context.Context, envelope.Event[orderPlaced]) error {
				<-time.After(work)
				return nil
			}, consume.WithName(name))
		}
		release := make(chan struct{})
		deaf := consume.On(func(context.Context, envelope.Event[orderPlaced]) error {
			<-release // whatever its context says
			return nil
		}, consume.WithName("deaf"), consume.WithHandlerTimeout(time.Second))

		var mu sync.Mutex
		var gaveUp time.Time
		cfg := quick()
		cfg.AckWait, cfg.HandlerTimeout, cfg.DrainTimeout = 30*time.Second, time.Minute, 25*time.Second
		cfg.Concurrency, cfg.MaxHung = 1, 1
		cfg.Supervision = supervise.Config{MaxRestarts: -1, OnEvent: func(e supervise.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Path == cfg.Group && e.To == supervise.StateStopping {
				gaveUp = e.Time
			}
		}}
		c, err := consume.New(b.js, cfg, slow("first"), slow("second"), slow("third"), deaf)
		if err != nil {
			t.Fatal(err)
		}
		err = c.Run(t.Context())
		var intensity *supervise.IntensityError
		if !errors.As(err, &intensity) {
			t.Errorf("Run returned %v, want that the supervisor gave up", err)
		}
		mu.Lock()
		defer mu.Unlock()
		if took := time.Since(gaveUp); gaveUp.IsZero() || took > work+2*time.Second {
			t.Errorf("the stop took %s, want no longer than one handler's %s", took, work)
		}
		close(release)
	})
}
