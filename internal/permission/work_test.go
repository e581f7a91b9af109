package permission_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/control"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/deadletter"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/service"
)

// deploy makes the streams, as the deployer.
func (p *place) deploy(t *testing.T) {
	t.Helper()
	js := p.jetStream(t, "deployer")
	pr := &stream.Provisioner{JS: js, Logger: quiet()}
	err := pr.Ensure(t.Context(), stream.Scheduled(""), stream.Events(""), stream.Dead(""), stream.Retry("", "billing"),
		stream.Fleet(""), stream.Leases("", stream.InstancesName, ""))
	if err == nil {
		_, err = pr.Bucket(t.Context(), stream.Positions(""))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (p *place) publisher(t *testing.T) *publish.Publisher {
	t.Helper()
	pub, err := publish.New(p.jetStream(t, "shop"), publish.Config{Source: "/shop", Provision: new(false), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := pub.Close(ctx); err != nil {
			t.Errorf("close publisher: %v", err)
		}
	})
	return pub
}

// TestDeployerAndPublisher makes the streams and publishes in all ways there
// are.
func TestDeployerAndPublisher(t *testing.T) {
	t.Parallel()
	p := open(t, "")
	p.deploy(t)
	p.deploy(t) // what is there is found
	pub := p.publisher(t)
	if _, err := pub.Publish(t.Context(), orderPlaced{OrderID: "o-1"}); err != nil {
		t.Error(err)
	}
	if _, err := pub.PublishAsync(t.Context(), orderPlaced{OrderID: "o-2"}).Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := pub.PublishBatch(t.Context(), []envelope.Payload{orderPlaced{OrderID: "o-3"}, orderPlaced{OrderID: "o-4"}}); err != nil {
		t.Error(err)
	}
	p.clean(t)
}

// TestScheduler declares at a time and as a cron, lists, cancels, and sees an
// event arrive.
func TestScheduler(t *testing.T) {
	t.Parallel()
	p := open(t, "")
	p.deploy(t)
	pub, err := publish.New(p.jetStream(t, "cron"), publish.Config{Source: "/cron", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range []publish.Option{publish.At(time.Now().Add(time.Hour)), publish.Cron("0 0 3 * * *", "Europe/Berlin"), publish.In(time.Second)} {
		if _, err := pub.Publish(t.Context(), orderPlaced{OrderID: "o-1"}, when, publish.WithScheduleID(rand.Text())); err != nil {
			t.Error(err)
		}
	}
	var ids []string
	for s, err := range pub.Schedules(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if s.At.IsZero() || time.Until(s.At) > time.Minute {
			ids = append(ids, s.ID)
		}
	}
	if len(ids) != 2 {
		t.Errorf("schedules %v, want two of far times", ids)
	}
	for _, id := range ids {
		if err := pub.CancelSchedule(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	p.clean(t)
}

// TestMember runs a group through everything that it does: success, retry, dead
// letter, a suspect event, a durable that vanishes, positions.
func TestMember(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ conf, acks string }{
		"acknowledgements":       {"", "$JS.ACK.EVENTS."},
		"their form from ADR-15": {"feature_flags: { js_ack_fc_v2: true }", "$JS.ACK._."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := open(t, c.conf)
			p.deploy(t)
			testMember(t, p, c.acks)
		})
	}
}

func testMember(t *testing.T, p *place, acks string) {
	t.Helper()
	pub := p.publisher(t)
	js := p.jetStream(t, "member")
	var suspects, after atomic.Int64
	c, err := consume.New(js, consume.Config{
		Group: "billing", MaxAttempts: 2, FirstDelay: 250 * time.Millisecond, Provision: new(true), Logger: quiet(),
	},
		consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
			switch {
			case e.Data.OrderID == "bad", e.Data.OrderID == "flaky" && e.Delivery.Attempt == 1:
				return errors.New("no")
			case e.Data.OrderID == "suspect":
				suspects.Add(1)
			case e.Data.OrderID == "after":
				after.Add(1)
			}
			return nil
		}, consume.WithName("charge")))
	if err != nil {
		t.Fatal(err)
	}
	handled := func(want, dead uint64) {
		t.Helper()
		testserver.Eventually(t, 15*time.Second, func() error {
			s := c.Status().Subscriptions[0]
			if s.Handled != want || s.Dead != dead {
				return fmt.Errorf("%+v, refused %q", s, p.refused())
			}
			return nil
		}, "%d handled, %d dead", want, dead)
	}
	stop := run(t, c.Run)
	for _, id := range []string{"fine", "flaky", "bad"} {
		if _, err := pub.Publish(t.Context(), orderPlaced{OrderID: id}); err != nil {
			t.Fatal(err)
		}
	}
	handled(2, 1)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// An event that others gave back too often is run alone, and marked.
	if _, err := pub.Publish(t.Context(), orderPlaced{OrderID: "suspect"}); err != nil {
		t.Fatal(err)
	}
	d, err := p.root.Consumer(t.Context(), "EVENTS", "billing_charge")
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		m, err := d.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Nak(); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(m.Reply(), acks) {
			t.Errorf("acknowledged at %s", m.Reply())
		}
	}
	run(t, c.Run)
	handled(3, 1)
	// A durable that vanishes is made again, with its own filter.
	for _, s := range []string{"EVENTS", "RETRY_billing"} {
		if err := p.root.DeleteConsumer(t.Context(), s, "billing_charge"); err != nil {
			t.Fatal(err)
		}
	}
	testserver.Eventually(t, 15*time.Second, func() bool { return c.Status().Subscriptions[0].Healed == 2 }, "healed")
	if _, err := pub.Publish(t.Context(), orderPlaced{OrderID: "after"}); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, 10*time.Second, func() bool { return after.Load() == 1 }, "handled by the new durable")
	lane, err := p.root.Stream(t.Context(), "RETRY_billing")
	if err != nil {
		t.Fatal(err)
	}
	if suspects.Load() == 0 {
		t.Error("the suspect did not run")
	}
	if _, err := lane.GetLastMsgForSubject(t.Context(), "retry.billing.mark.>"); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("its mark is left: %v", err)
	}
	p.clean(t)
}

// A member that may only bind works, and cannot heal.
func TestBoundMember(t *testing.T) {
	t.Parallel()
	p := open(t, "")
	p.deploy(t)
	made := p.jetStream(t, "deployer")
	for _, at := range []struct{ stream, filter string }{
		{"EVENTS", "events.shop.order.placed.v1.*"}, {"RETRY_billing", "retry.billing.due.charge.*"},
	} {
		_, err := made.CreateConsumer(t.Context(), at.stream, jetstream.ConsumerConfig{
			Durable: "billing_charge", FilterSubject: at.filter, AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1,
			Metadata: map[string]string{"agner.group": "billing", "agner.subscription": "charge", "agner.type": "shop.order.placed.v1"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan string, 1)
	c, err := consume.New(p.jetStream(t, "bound"), consume.Config{Group: "billing", Provision: new(false), Logger: quiet()},
		consume.On(func(_ context.Context, e envelope.Event[orderPlaced]) error { got <- e.Data.OrderID; return nil }, consume.WithName("charge")))
	if err != nil {
		t.Fatal(err)
	}
	run(t, c.Run)
	if _, err := p.publisher(t).Publish(t.Context(), orderPlaced{OrderID: "o-1"}); err != nil {
		t.Fatal(err)
	}
	<-got
	p.clean(t)
}

type quote struct {
	Cents int `json:"cents"`
}

// serve runs a service as somebody, with an endpoint of each kind.
func (p *place) serve(t *testing.T, who string, admin bool, parts ...service.Part) *service.Service {
	t.Helper()
	parts = append(parts,
		service.Handle("quote", func(context.Context, struct{}) (quote, error) { return quote{Cents: 5}, nil }),
		service.Handle("wait", func(ctx context.Context, _ struct{}) (quote, error) { <-ctx.Done(); return quote{}, ctx.Err() }))
	svc, err := service.New(p.as(t, who), service.Config{
		Name: "billing", Instance: who + "-1", Admin: admin, Logger: quiet(),
		Consume: consume.Config{Provision: new(true)}, Publish: publish.Config{Provision: new(false)},
	}, parts...)
	if err != nil {
		t.Fatal(err)
	}
	up := make(chan struct{})
	run(t, func(ctx context.Context) error { return svc.RunReady(ctx, func() { close(up) }) })
	select {
	case <-up:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s is not ready: %+v, refused %q", who, svc.Readiness(), p.refused())
	}
	return svc
}

func (p *place) client(t *testing.T, who string) *service.Client {
	t.Helper()
	cl, err := service.NewClient(p.as(t, who), service.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := cl.Close(ctx); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return cl
}

// TestCallerAndService calls in all ways, and looks.
func TestCallerAndService(t *testing.T) {
	t.Parallel()
	p := open(t, "")
	p.deploy(t)
	p.serve(t, "billing", false)
	cl := p.client(t, "web")
	if q, err := service.Call[quote](t.Context(), cl, "billing.quote", struct{}{}); err != nil || q.Cents != 5 {
		t.Error(q, err)
	}
	if _, err := service.Call[quote](t.Context(), cl, "billing.quote", struct{}{}, service.ToInstance("billing-1")); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := service.Call[quote](ctx, cl, "billing.wait", struct{}{}); service.CodeOf(err) != service.CodeDeadlineExceeded {
		t.Error(err)
	}
	if err := service.Cast(t.Context(), cl, "billing.quote", struct{}{}, service.ToAll()); err != nil {
		t.Error(err)
	}
	looker := p.as(t, "looker")
	for _, verb := range control.Verbs(control.Read) {
		_, err := control.Ask(t.Context(), looker, "agner.read.billing.billing-1."+verb, nil)
		if err != nil && verb != control.VerbLogLevel { // it has none
			t.Errorf("%s: %v", verb, err)
		}
	}
	for _, subject := range []string{"$SRV.PING", "$SRV.INFO.billing", "$SRV.STATS.billing.billing-1"} {
		if _, err := looker.RequestWithContext(t.Context(), subject, nil); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
	p.clean(t)
}

// TestWholeService runs one that does everything, and an operator.
func TestWholeService(t *testing.T) {
	t.Parallel()
	p := open(t, "")
	p.deploy(t)
	var tries atomic.Int64
	svc := p.serve(t, "whole", true, service.On(func(context.Context, envelope.Event[orderPlaced]) error {
		if tries.Add(1) == 1 {
			return consume.DeadLetter(errors.New("no"))
		}
		return nil
	}, consume.WithName("charge")))
	if _, err := service.Call[quote](t.Context(), svc.Client(), "billing.quote", struct{}{}); err != nil {
		t.Error(err)
	}
	if _, err := svc.Publisher().Publish(t.Context(), orderPlaced{OrderID: "o-1"}); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, 10*time.Second, func() bool { return svc.Status().Events.Subscriptions[0].Dead == 1 }, "dead")

	ann := p.as(t, "ann")
	act := func(verb string, request any) {
		t.Helper()
		if _, err := control.Ask(t.Context(), ann, "agner.admin.billing.whole-1."+verb, request); err != nil {
			t.Errorf("%s: %v", verb, err)
		}
	}
	who := control.Act{By: "ann"}
	act(control.VerbPause, control.PauseRequest{Act: who, ForMS: 60_000})
	act(control.VerbResume, control.ResumeRequest{Act: who})
	act(control.VerbRestart, control.RestartRequest{Act: who, Child: "calls/quote"})
	act(control.VerbConcurrency, control.ConcurrencyRequest{Act: who, Subscription: "charge", Concurrency: 1})

	js, err := jetstream.New(ann)
	if err != nil {
		t.Fatal(err)
	}
	letters, err := deadletter.New(js, deadletter.Config{})
	if err != nil {
		t.Fatal(err)
	}
	// With a filter of each form: permissions go by their subjects.
	for _, f := range []deadletter.Filter{{}, {Group: "billing"}, {Key: "o-1"}} {
		for _, err := range letters.List(t.Context(), f) {
			if err != nil {
				t.Errorf("list %s: %v", f, err)
			}
		}
	}
	if _, err := letters.ReplayOne(t.Context(), 1); err != nil {
		t.Error(err)
	}
	testserver.Eventually(t, 10*time.Second, func() bool { return svc.Status().Events.Subscriptions[0].Handled == 1 }, "replayed")
	if r := svc.Readiness(); !r.Ready {
		t.Errorf("%+v", r)
	}
	act(control.VerbDrain, control.DrainRequest{Act: who})
	p.clean(t)
	if len(p.refused()) > 0 {
		t.Log(strings.Join(p.refused(), "\n"))
	}
}
