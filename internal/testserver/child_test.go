package testserver_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
)

func TestChildKeepsWhatItAcknowledgedOverAKill(t *testing.T) {
	t.Parallel()
	began := time.Now()
	c := testserver.StartChild(t)
	t.Logf("started in %s", time.Since(began))
	nc := c.Connect(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	makeStream(t, js)

	const rounds, each = 3, 200
	for round := range rounds {
		for i := range each {
			if _, err := js.Publish(t.Context(), "events.a", fmt.Appendf(nil, "%d-%d", round, i)); err != nil {
				t.Fatal(err)
			}
		}
		url := c.URL()
		began := time.Now()
		c.Kill()
		if c.Running() {
			t.Error("runs after Kill")
		}
		if _, err := nats.Connect(url); err == nil {
			t.Fatal("a killed server accepts connections")
		}
		c.Restart(t)
		t.Logf("killed and restarted in %s", time.Since(began))
		if c.URL() != url {
			t.Errorf("URL = %s, was %s", c.URL(), url)
		}
		testserver.Eventually(t, 10*time.Second, nc.IsConnected, "reconnect")
		requireMsgs(t, js, uint64((round+1)*each))
	}
}

func TestChildStopsInOrder(t *testing.T) {
	t.Parallel()
	c := testserver.StartChild(t, testserver.SyncAlways())
	js := c.JetStream(t)
	makeStream(t, js)
	if _, err := js.Publish(t.Context(), "events.a", nil); err != nil {
		t.Fatal(err)
	}
	c.Stop()
	c.Stop() // a second time is nothing
	c.Restart(t)
	testserver.Eventually(t, 10*time.Second, js.Conn().IsConnected, "reconnect")
	requireMsgs(t, js, 1)
}

func TestPausedChildAnswersWhenResumed(t *testing.T) {
	t.Parallel()
	c := testserver.StartChild(t)
	js := c.JetStream(t)
	makeStream(t, js)

	c.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := js.Publish(ctx, "events.a", nil); err == nil {
		t.Error("a paused server acknowledged")
	}
	c.Resume()
	// The publish that got no answer was in the socket, and is stored now.
	testserver.Eventually(t, 10*time.Second, func() error { return wantMsgs(t.Context(), js, 1) }, "stored after the pause")

	c.Pause()
	c.Kill() // a stopped process can be killed too
}

func requireMsgs(t *testing.T, js jetstream.JetStream, want uint64) {
	t.Helper()
	if err := wantMsgs(t.Context(), js, want); err != nil {
		t.Error(err)
	}
}

func wantMsgs(ctx context.Context, js jetstream.JetStream, want uint64) error {
	s, err := js.Stream(ctx, "EVENTS")
	if err != nil {
		return err
	}
	if n := s.CachedInfo().State.Msgs; n != want {
		return fmt.Errorf("stream has %d messages, want %d", n, want)
	}
	return nil
}
