package testserver_test

import (
	"os"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }

func makeStream(t *testing.T, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestServerKeepsItsStoreAndPortOverARestart(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]testserver.Option{
		"in process": nil,
		"listening":  {testserver.Listen()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testserver.Start(t, opts...)
			url := s.URL()
			nc := s.Connect(t)
			if url != "" {
				dialed, err := nats.Connect(url)
				if err != nil {
					t.Fatal(err)
				}
				defer dialed.Close()
			}
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			makeStream(t, js)
			if _, err := js.Publish(t.Context(), "events.a", []byte("1")); err != nil {
				t.Fatal(err)
			}

			s.Restart(t)
			if s.URL() != url {
				t.Errorf("URL = %q, was %q", s.URL(), url)
			}
			testserver.Eventually(t, 5*time.Second, nc.IsConnected, "reconnect")
			got, err := js.Stream(t.Context(), "EVENTS")
			if err != nil {
				t.Fatal(err)
			}
			if n := got.CachedInfo().State.Msgs; n != 1 {
				t.Errorf("messages after the restart = %d, want 1", n)
			}
		})
	}
}
