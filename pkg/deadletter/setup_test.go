package deadletter_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/deadletter"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

const wait = 20 * time.Second

const orderType = "shop.order.placed.v1"

// group is a consumer group whose handler fails as long as broken says so, and
// that keeps what it handled.
type group struct {
	mu      sync.Mutex
	broken  error
	handled []envelope.Raw
	runs    int
}

func (g *group) handle(_ context.Context, e envelope.Raw) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.runs++
	if g.broken != nil {
		return g.broken
	}
	e.Data = bytes.Clone(e.Data)
	g.handled = append(g.handled, e)
	return nil
}

func (g *group) repair() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.broken = nil
}

func (g *group) events() []envelope.Raw {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]envelope.Raw(nil), g.handled...)
}

// subscribe runs the group until the test ends.
func subscribe(t *testing.T, js jetstream.JetStream, ns subject.Namespace, name string, broken error) *group {
	t.Helper()
	g := &group{broken: broken}
	run(t, js, consume.Config{
		Group: name, Namespace: string(ns), AckWait: time.Second, DrainTimeout: 5 * time.Second,
		MaxAttempts: 1, Logger: slog.New(slog.DiscardHandler),
	}, g)
	return g
}

func run(t *testing.T, js jetstream.JetStream, cfg consume.Config, g *group) {
	t.Helper()
	c, err := consume.New(js, cfg, consume.OnEvent(orderType, g.handle))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("group %s: %v", cfg.Group, err)
		}
	})
}

// place publishes one order.
func place(t *testing.T, js jetstream.JetStream, ns subject.Namespace, id string, data []byte) {
	t.Helper()
	p, err := publish.New(js, publish.Config{Source: "/test", Namespace: string(ns)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	_, err = p.PublishRaw(t.Context(), envelope.Raw{
		Attributes: envelope.Attributes{
			ID: id, Type: orderType, Key: "o 1", Source: "/test", DataContentType: "application/json",
			Extensions: []envelope.Extension{{Name: "shop", Value: "zürich"}},
		},
		Data: data,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// client opens the dead letters of a namespace.
func client(t *testing.T, js jetstream.JetStream, ns subject.Namespace) *deadletter.Client {
	t.Helper()
	c, err := deadletter.New(js, deadletter.Config{Namespace: string(ns), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// list is what a filter selects.
func list(t *testing.T, c *deadletter.Client, f deadletter.Filter) []*deadletter.Letter {
	t.Helper()
	var out []*deadletter.Letter
	for l, err := range c.List(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

// letters waits until DEAD holds n letters and returns them.
func letters(t *testing.T, js jetstream.JetStream, ns subject.Namespace, n int) []*deadletter.Letter {
	t.Helper()
	var found []*deadletter.Letter
	testserver.Eventually(t, wait, func() error {
		found = nil
		for l, err := range client(t, js, ns).List(t.Context(), deadletter.Filter{}) {
			if err != nil {
				return err
			}
			found = append(found, l)
		}
		if len(found) != n {
			return fmt.Errorf("DEAD holds %d letters", len(found))
		}
		return nil
	}, "want %d dead letters", n)
	return found
}
