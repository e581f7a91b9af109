package testserver_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
)

// TestBubbleCanary fails when nats-server or nats.go no longer run in fake
// time: twenty bubbles, so that what one leaves behind hurts the next.
func TestBubbleCanary(t *testing.T) {
	began := time.Now()
	const bubbles = 20
	for range bubbles {
		t.Run("bubble", func(t *testing.T) {
			testserver.Bubble(t, redeliversAfterAckWait)
		})
	}
	took := time.Since(began)
	t.Logf("%d bubbles of 30 fake seconds took %s", bubbles, took)
	if took > bubbles*10*time.Second {
		t.Errorf("%d bubbles took %s of real time", bubbles, took)
	}
}

func redeliversAfterAckWait(t *testing.T, s *testserver.Server) {
	t.Helper()
	nc := s.Connect(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cons, err := makeStream(t, js).CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: "d", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "events.a", nil); err != nil {
		t.Fatal(err)
	}
	// Both of these take a timer from the pool that nats.go shares between bubbles.
	if err := nc.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Request("$JS.API.INFO", nil, time.Minute); err != nil {
		t.Fatal(err)
	}

	first := nextMsg(t, cons)
	began := time.Now()
	second := nextMsg(t, cons)
	waited := time.Since(began)
	if waited < 30*time.Second || waited > 31*time.Second {
		t.Errorf("redelivered after %s of fake time, want 30 s", waited)
	}
	m1, _ := first.Metadata()
	m2, err := second.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	if m2.Sequence.Stream != m1.Sequence.Stream || m2.NumDelivered != 2 {
		t.Errorf("second delivery = sequence %d, delivery %d", m2.Sequence.Stream, m2.NumDelivered)
	}
}

func nextMsg(t *testing.T, cons jetstream.Consumer) jetstream.Msg {
	t.Helper()
	batch, err := cons.Fetch(1, jetstream.FetchMaxWait(2*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	msg, ok := <-batch.Messages()
	if !ok {
		t.Fatalf("no message: %v", batch.Error())
	}
	return msg
}

func TestBubbleSurvivesARestart(t *testing.T) {
	testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
		t.Helper()
		nc := s.Connect(t)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		makeStream(t, js)
		if _, err := js.Publish(t.Context(), "events.a", nil); err != nil {
			t.Fatal(err)
		}

		s.Shutdown()
		<-time.After(10 * time.Minute)
		if nc.Status() != nats.RECONNECTING {
			t.Errorf("status = %s after ten minutes without a server", nc.Status())
		}
		s.Restart(t)
		testserver.Eventually(t, time.Second, nc.IsConnected, "reconnect")
		got, err := js.Stream(t.Context(), "EVENTS")
		if err != nil {
			t.Fatal(err)
		}
		if n := got.CachedInfo().State.Msgs; n != 1 {
			t.Errorf("messages = %d, want 1", n)
		}
	})
}

func TestBubbleRefusesAParallelTest(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("a bubble ran in a parallel test")
		}
	}()
	testserver.Bubble(t, func(*testing.T, *testserver.Server) {})
}

// TestBubbleEndsWhileASourceIsSetUp: setting up a source, as EVENTS has one,
// takes nats-server 100 to 200 ms, and in real time a shutdown meanwhile can
// leave a goroutine behind. In a bubble that would be a deadlock.
func TestBubbleEndsWhileASourceIsSetUp(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *testserver.Server, js jetstream.JetStream){
		"as it is": func(*testing.T, *testserver.Server, jetstream.JetStream) {},
		"shut down": func(_ *testing.T, s *testserver.Server, _ jetstream.JetStream) {
			s.Shutdown()
		},
		"source gone": func(t *testing.T, _ *testserver.Server, js jetstream.JetStream) {
			t.Helper()
			if err := js.DeleteStream(t.Context(), "FROM"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, after := range []time.Duration{0, 120 * time.Millisecond, 150 * time.Millisecond, time.Second} {
			t.Run(name+" "+after.String(), func(t *testing.T) {
				testserver.Bubble(t, func(t *testing.T, s *testserver.Server) {
					t.Helper()
					js := s.JetStream(t)
					makeSourced(t, js)
					end(t, s, js)
					<-time.After(after)
				})
			})
		}
	}
}

func makeSourced(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "FROM", Subjects: []string{"from.>"}},
		{Name: "TO", Sources: []*jetstream.StreamSource{{Name: "FROM"}}},
	} {
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
}
