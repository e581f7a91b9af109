package consume_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
)

func TestLeaderChange(t *testing.T) {
	t.Parallel()
	cluster := testserver.StartCluster(t, 3)
	b := &bundle{js: cluster.JetStream(t)}
	b.streams(t)
	got := newTally()
	c, _ := start(t, cluster.JetStream(t), quick(), counting(got))
	const rounds, each = 3, 20
	for r := range rounds {
		b.place2(t, r*each, (r+1)*each)
		cluster.StepDown("EVENTS")
	}
	began := time.Now()
	eventually(t, func() error {
		if n := got.distinct(); n != rounds*each {
			return fmt.Errorf("%d events", n)
		}
		return b.idle(t, "EVENTS")
	})
	t.Logf("settled %s after the last step-down: %+v", time.Since(began), c.Status().Subscriptions[0])
	s, err := b.js.Stream(t.Context(), "EVENTS")
	if err != nil || s.CachedInfo().Config.Replicas != 3 {
		t.Errorf("replicas on a cluster: %+v, %v", s.CachedInfo().Config.Replicas, err)
	}
}

// A connection that swallows everything looks connected; short pings, as
// service.Connect sets them, find out.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	server := testserver.Start(t, testserver.Listen())
	b := &bundle{js: server.JetStream(t)}
	b.streams(t)
	b.place(t, 10)
	proxy := testserver.StartProxy(t, server.URL())
	got := newTally()
	js := proxy.JetStream(t,
		nats.PingInterval(200*time.Millisecond), nats.MaxPingsOutstanding(2), nats.ReconnectWait(50*time.Millisecond))
	start(t, js, quick(), counting(got))
	eventually(t, func() error { return got.each(10, 1) })
	proxy.Hold(true)
	b.place2(t, 10, 20)
	began := time.Now()
	testserver.Eventually(t, wait, func() bool { return !js.Conn().IsConnected() }, "nobody noticed")
	proxy.Hold(false)
	eventually(t, func() error {
		if n := got.distinct(); n != 20 {
			return fmt.Errorf("%d events", n)
		}
		return b.idle(t, "EVENTS")
	})
	t.Logf("settled after %s", time.Since(began))
}

// byHand makes the group's durable with limits that an operator might set.
func (b *bundle) byHand(t *testing.T, change func(*jetstream.ConsumerConfig)) jetstream.Consumer {
	t.Helper()
	cfg := jetstream.ConsumerConfig{
		Durable: durableName, FilterSubject: "events.shop.order.placed.v1.*", AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: time.Minute, MaxDeliver: -1,
		Metadata: map[string]string{
			"agner.group": "billing", "agner.subscription": subscriptionName, "agner.type": "shop.order.placed.v1",
		},
	}
	change(&cfg)
	c, err := b.js.CreateConsumer(t.Context(), "EVENTS", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func lastErrorHas(c *consume.Consumer, text string) func() error {
	return func() error {
		if e := c.Status().Subscriptions[0].LastError; !strings.Contains(e, text) {
			return fmt.Errorf("last error is %q", e)
		}
		return nil
	}
}

func TestStallIsTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	held := b.byHand(t, func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 1 })
	b.place(t, 3)
	hoarded, err := held.Next()
	if err != nil {
		t.Fatal(err)
	}
	got := newTally()
	c, _ := start(t, b.js, quick(), counting(got))
	began := time.Now()
	eventually(t, lastErrorHas(c, "MaxAckPending"))
	t.Logf("told after %s", time.Since(began))
	if err := hoarded.Nak(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return got.each(3, 1) })
}

func TestTooManyPullsAreTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.streams(t)
	b.byHand(t, func(c *jetstream.ConsumerConfig) { c.MaxWaiting = 1 })
	got := newTally()
	one, _ := start(t, b.js, quick(), counting(got))
	eventually(t, func() error {
		if s := one.Status().Subscriptions[0].State; s != consume.StateRunning {
			return fmt.Errorf("state %s", s)
		}
		return nil
	})
	two, _ := start(t, b.js, quick(), counting(got))
	began := time.Now()
	eventually(t, lastErrorHas(two, "MaxWaiting"))
	t.Logf("told after %s", time.Since(began))
	b.place(t, 10)
	eventually(t, func() error { return got.each(10, 1) })
}
