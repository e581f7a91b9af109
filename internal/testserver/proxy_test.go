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

// proxied is a server, a proxy before it, JetStream through the proxy, and a
// way to the server around it that sees what is really stored.
type proxied struct {
	proxy  *testserver.Proxy
	js     jetstream.JetStream
	direct jetstream.JetStream
}

func startProxied(t *testing.T) proxied {
	t.Helper()
	s := testserver.Start(t, testserver.Listen())
	p := proxied{proxy: testserver.StartProxy(t, s.URL()), direct: s.JetStream(t)}
	p.js = p.proxy.JetStream(t)
	makeStream(t, p.direct)
	return p
}

// publish publishes one message, and gives up soon: a lost ack never comes.
func (p proxied) publish(t *testing.T, subject string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	_, err := p.js.Publish(ctx, subject, []byte(subject))
	return err
}

func TestProxyDropsExactlyTheNthAck(t *testing.T) {
	t.Parallel()
	p := startProxied(t)
	const nth = 3
	fault := p.proxy.Inject(testserver.Fault{Match: testserver.Answered("events.>"), Nth: nth})
	for i := 1; i <= 5; i++ {
		if err := p.publish(t, "events.a"); (err != nil) != (i == nth) {
			t.Errorf("publish %d: %v", i, err)
		}
	}
	requireMsgs(t, p.direct, 5)
	if fault.Seen() != 5 || fault.Hits() != 1 {
		t.Errorf("seen %d, hits %d; want 5 and 1", fault.Seen(), fault.Hits())
	}
	<-fault.Hit()

	fault.Remove()
	if err := p.publish(t, "events.a"); err != nil {
		t.Error(err)
	}
	if fault.Seen() != 5 {
		t.Errorf("a removed fault counts: %d", fault.Seen())
	}
}

func TestProxyDropsTheNthPublish(t *testing.T) {
	t.Parallel()
	p := startProxied(t)
	p.proxy.Inject(testserver.Fault{Match: testserver.Published("events.b"), Nth: 2})
	for i, subject := range []string{"events.b", "events.a", "events.b", "events.b"} {
		if err := p.publish(t, subject); (err != nil) != (i == 2) {
			t.Errorf("publish %d: %v", i, err)
		}
	}
	requireMsgs(t, p.direct, 3)
}

// TestProxyLosesAcksAndDeliveries: what is lost on the way to or from a
// consumer is delivered again.
func TestProxyLosesAcksAndDeliveries(t *testing.T) {
	t.Parallel()
	for name, match := range map[string]func(testserver.Frame) bool{
		"ack":      testserver.Published("$JS.ACK.>"),
		"delivery": testserver.Delivered("events.>"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startProxied(t)
			fault := p.proxy.Inject(testserver.Fault{Match: match, Nth: 2})
			for i := range 3 {
				if _, err := p.direct.Publish(t.Context(), fmt.Sprintf("events.%d", i), nil); err != nil {
					t.Fatal(err)
				}
			}
			cons, err := p.js.CreateConsumer(t.Context(), "EVENTS", jetstream.ConsumerConfig{
				Durable: "d", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 300 * time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			delivered := make(map[string]uint64)
			running, err := cons.Consume(func(msg jetstream.Msg) {
				meta, err := msg.Metadata()
				if err != nil {
					t.Error(err)
					return
				}
				delivered[msg.Subject()] = meta.NumDelivered
				if err := msg.Ack(); err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			testserver.Eventually(t, 10*time.Second, func() error {
				info, err := cons.Info(t.Context())
				if err == nil && (info.NumPending > 0 || info.NumAckPending > 0) {
					err = fmt.Errorf("%d pending, %d without ack", info.NumPending, info.NumAckPending)
				}
				return err
			}, "all acknowledged")
			running.Stop()
			<-running.Closed()
			if want := (map[string]uint64{"events.0": 1, "events.1": 2, "events.2": 1}); fmt.Sprint(delivered) != fmt.Sprint(want) {
				t.Errorf("deliveries = %v, want %v", delivered, want)
			}
			if fault.Hits() != 1 {
				t.Errorf("hits = %d, want 1", fault.Hits())
			}
		})
	}
}

func TestProxyDelaysOneAck(t *testing.T) {
	t.Parallel()
	p := startProxied(t)
	const late = 150 * time.Millisecond
	p.proxy.Inject(testserver.Fault{
		Match: testserver.Answered("events.slow"), Action: testserver.Delay, Delay: late,
	})
	began := time.Now()
	slow, err := p.js.PublishAsync("events.slow", nil)
	if err != nil {
		t.Fatal(err)
	}
	fast, err := p.js.PublishAsync("events.fast", nil)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-fast.Ok():
	case <-slow.Ok():
		t.Error("the delayed ack came first")
	}
	<-slow.Ok()
	if took := time.Since(began); took < late {
		t.Errorf("the delayed ack came after %s, want at least %s", took, late)
	}
}

func TestProxyCutsAroundAMessage(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		action testserver.Action
		stored uint64
	}{
		"before": {testserver.CutBefore, 0},
		"after":  {testserver.CutAfter, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startProxied(t)
			p.proxy.Inject(testserver.Fault{Match: testserver.Published("events.>"), Nth: 1, Action: tt.action})
			if err := p.publish(t, "events.a"); err == nil {
				t.Error("acknowledged over a cut connection")
			}
			testserver.Eventually(t, 5*time.Second, p.js.Conn().IsConnected, "reconnect")
			testserver.Eventually(t, time.Second, func() error { return wantMsgs(t.Context(), p.direct, tt.stored) }, "stored")
			if err := p.publish(t, "events.a"); err != nil {
				t.Error(err)
			}
			requireMsgs(t, p.direct, tt.stored+1)
		})
	}
}

func TestProxyHoldsAndHeals(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		held   []testserver.Direction
		stored uint64
	}{
		"both ways": {nil, 0},
		"to server": {[]testserver.Direction{testserver.ToServer}, 0},
		"to client": {[]testserver.Direction{testserver.ToClient}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startProxied(t)
			p.proxy.Hold(true, tt.held...)
			if err := p.publish(t, "events.a"); err == nil {
				t.Error("acknowledged through a black hole")
			}
			if !p.js.Conn().IsConnected() {
				t.Error("the connection is gone; it should only be silent")
			}
			requireMsgs(t, p.direct, tt.stored)
			if _, err := nats.Connect(p.proxy.URL(), nats.Timeout(50*time.Millisecond)); err == nil {
				t.Error("a new connection passes")
			}

			p.proxy.Hold(false, tt.held...)
			testserver.Eventually(t, 5*time.Second, func() error { return wantMsgs(t.Context(), p.direct, 1) }, "passed on")
			if err := p.publish(t, "events.a"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestProxyCutsAndRefuses(t *testing.T) {
	t.Parallel()
	p := startProxied(t)
	nc := p.js.Conn()
	p.proxy.Refuse(true)
	if err := p.publish(t, "events.a"); err != nil {
		t.Errorf("Refuse hits a connection that is there: %v", err)
	}
	if n := p.proxy.Cut(); n != 1 {
		t.Errorf("Cut closed %d connections, want 1", n)
	}
	testserver.Eventually(t, 5*time.Second, nc.IsReconnecting, "disconnect")
	if _, err := nats.Connect(p.proxy.URL()); err == nil {
		t.Error("a refusing proxy lets a client in")
	}
	p.proxy.Refuse(false)
	testserver.Eventually(t, 5*time.Second, nc.IsConnected, "reconnect")
	if err := p.publish(t, "events.a"); err != nil {
		t.Error(err)
	}
	requireMsgs(t, p.direct, 2)
}
