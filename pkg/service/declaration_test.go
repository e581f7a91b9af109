package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/declare"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/service"
)

type (
	boxPacked  struct{ ID string }
	boxShipped struct{ ID string }
	boxLost    struct{ ID string }
)

func (boxPacked) EventType() string  { return "box.packed.v1" }
func (boxShipped) EventType() string { return "box.shipped.v1" }
func (boxLost) EventType() string    { return "box.lost.v1" }

// ledger counts what was handled, by type and id.
type ledger struct {
	mu   sync.Mutex
	seen map[string]int
}

func (l *ledger) note(typ, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = map[string]int{}
	}
	l.seen[typ+" "+id]++
	return nil
}

func (l *ledger) handled(typ string) (events, twice int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, n := range l.seen {
		if strings.HasPrefix(k, typ+" ") {
			events++
			twice += n - 1
		}
	}
	return events, twice
}

func (l *ledger) packed() service.Part {
	return service.On(func(_ context.Context, e envelope.Event[boxPacked]) error { return l.note("packed", e.Data.ID) })
}

func (l *ledger) shipped() service.Part {
	return service.On(func(_ context.Context, e envelope.Event[boxShipped]) error { return l.note("shipped", e.Data.ID) })
}

func (l *ledger) lost() service.Part {
	return service.On(func(_ context.Context, e envelope.Event[boxLost]) error { return l.note("lost", e.Data.ID) })
}

// configs are the durables of a group as JSON, by stream and name, without the
// state that the server adds.
func configs(t *testing.T, js jetstream.JetStream, streams ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range streams {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		list := s.ListConsumers(t.Context())
		for i := range list.Info() {
			text, err := json.Marshal(i.Config)
			if err != nil {
				t.Fatal(err)
			}
			all[name+" "+i.Name] = string(text)
		}
	}
	return all
}

// TestTwoVersions rolls from one version of a service to one with other
// handlers and another ack wait, and back, while events of three types are
// published: an older version starts again after a newer one has changed the
// durables. Nothing is filtered anew or rewritten, and every event reaches the
// handler that some version has for it.
func TestTwoVersions(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	js := srv.JetStream(t)
	var books ledger
	older := func() *running {
		return start(t, srv.Connect(t), service.Config{
			Name: "depot", Version: "1.0.0", Logger: quiet(),
			Consume: consume.Config{AckWait: 5 * time.Second, Generation: 1},
		}, books.packed(), books.shipped())
	}
	newerConfig := service.Config{
		Name: "depot", Version: "2.0.0", Logger: quiet(), Consume: consume.Config{AckWait: 9 * time.Second, Generation: 2},
	}
	newer := func() *running { return start(t, srv.Connect(t), newerConfig, books.packed(), books.lost()) }
	before := map[string]string{}
	unchanged := func(when string) {
		t.Helper()
		now := configs(t, js, "EVENTS", "RETRY_depot")
		for name, config := range before {
			if now[name] != config {
				t.Errorf("%s: durable %s is\n%s\nand was\n%s", when, name, now[name], config)
			}
		}
		before = now
	}

	published := make(chan int, 1)
	enough := make(chan struct{})
	v1 := older()
	unchanged("first")
	go func() { published <- publishBoxes(t, srv.Connect(t), enough) }()

	v2a := newer()
	unchanged("two versions side by side")
	v2b := newer()
	stopped(t, v1)
	unchanged("the older one is gone")
	if n := len(before); n != 6 {
		t.Errorf("%d durables, want 6: %v", n, before)
	}
	applyNewer(t, js, v2a.Declaration())
	before = configs(t, js, "EVENTS", "RETRY_depot")
	v1 = older()
	unchanged("the older one is there again")
	stopped(t, v2a)
	stopped(t, v2b)
	unchanged("the newer ones are gone")
	v2a = newer()
	close(enough)
	n := <-published
	for _, typ := range []string{"packed", "shipped", "lost"} {
		testserver.Eventually(t, 30*time.Second, func() error {
			if events, _ := books.handled(typ); events != n {
				return fmt.Errorf("%d of %d", events, n)
			}
			return nil
		}, "all %s boxes are handled", typ)
		_, twice := books.handled(typ)
		t.Logf("%d %s boxes: 0 lost, %d handled twice", n, typ, twice)
	}
	stopped(t, v1)
	stopped(t, v2a)
	unchanged("at the end")
}

func stopped(t *testing.T, r *running) {
	t.Helper()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// applyNewer is what the deployer of the newer version does: what both versions
// have gets its generation, what only the older one has is left alone.
func applyNewer(t *testing.T, js jetstream.JetStream, d service.Declaration) {
	t.Helper()
	p := &declare.Planner{JS: js, Prune: true, Logger: quiet()}
	plan, err := p.Plan(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(t.Context(), plan, func(s *declare.Step) {
		if s.Kind == declare.KindDurable && (s.Action != declare.Update || s.Name != "depot_box-packed-v1") {
			t.Errorf("done: %s", s)
		}
	}); err != nil {
		t.Fatal(err)
	}
	have := configs(t, js, "EVENTS", "RETRY_depot")
	for name, want := range map[string]string{
		"EVENTS depot_box-packed-v1": `"ack_wait":9000000000`, "RETRY_depot depot_box-packed-v1": `"agner.generation":"2"`,
		"EVENTS depot_box-shipped-v1": `"ack_wait":5000000000`, "RETRY_depot depot_box-shipped-v1": `"agner.generation":"1"`,
	} {
		if !strings.Contains(have[name], want) {
			t.Errorf("durable %s has no %s: %s", name, want, have[name])
		}
	}
}

// publishBoxes publishes one box of each type after the other, at least a
// thousand, until it has been enough.
func publishBoxes(t *testing.T, nc *nats.Conn, enough <-chan struct{}) int {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Error(err)
		return 0
	}
	pub, err := publish.New(js, publish.Config{Source: "/depot", Logger: quiet()})
	if err != nil {
		t.Error(err)
		return 0
	}
	n := 0
	for done := false; !done || n < 1000; n++ {
		id := strconv.Itoa(n)
		for _, e := range []envelope.Payload{boxPacked{id}, boxShipped{id}, boxLost{id}} {
			if _, err := pub.Publish(t.Context(), e); err != nil {
				t.Error(err)
				return n
			}
		}
		select {
		case <-enough:
			done = true
		default:
		}
	}
	if err := pub.Close(t.Context()); err != nil {
		t.Error(err)
	}
	return n
}

// TestMayCreateNothing runs a service as somebody who may create nothing, after
// a deployer has applied its declaration: it works, and does not even try.
func TestMayCreateNothing(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Conf(`
		authorization {
			users = [
				{user: deployer, password: x}
				{user: depot, password: x, permissions: {publish: {deny: [
					"$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>", "$JS.API.STREAM.DELETE.>"
					"$JS.API.CONSUMER.CREATE.>", "$JS.API.CONSUMER.DURABLE.CREATE.>", "$JS.API.CONSUMER.DELETE.>"
				]}}}
			]
		}`), testserver.Client(nats.UserInfo("deployer", "x")))
	var books ledger
	violations := make(chan error, 16)
	nc := srv.Connect(t, nats.UserInfo("depot", "x"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case violations <- err:
		default:
		}
	}))
	cfg := service.Config{Name: "depot", Provision: new(false), Logger: quiet()}
	fails := func(_ context.Context, e envelope.Event[boxLost]) error {
		_ = books.note("failed", e.Data.ID)
		return errors.New("never")
	}
	svc, err := service.New(nc, cfg, books.packed(), service.On(fails, consume.WithMaxAttempts(1)))
	if err != nil {
		t.Fatal(err)
	}
	p := &declare.Planner{JS: srv.JetStream(t), Logger: slog.New(slog.DiscardHandler)}
	plan, err := p.Plan(t.Context(), svc.Declaration())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(t.Context(), plan, func(*declare.Step) {}); err != nil {
		t.Fatal(err)
	}
	run(t, svc)
	for _, e := range []envelope.Payload{boxPacked{"1"}, boxLost{"1"}} {
		if _, err := svc.Publisher().Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for _, typ := range []string{"packed", "failed"} {
		testserver.Eventually(t, 10*time.Second, func() bool { n, _ := books.handled(typ); return n == 1 }, "%s", typ)
	}
	dead, err := srv.JetStream(t).Stream(t.Context(), "DEAD")
	if err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, 10*time.Second, func() bool {
		i, err := dead.Info(t.Context())
		return err == nil && i.State.Msgs == 1
	}, "the dead letter is stored")
	if err := nc.FlushTimeout(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-violations:
		t.Errorf("the service tried what it may not: %v", err)
	default:
	}
}

// TestProvisionFalseWithoutApply names what is missing, and makes nothing.
func TestProvisionFalseWithoutApply(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	var books ledger
	svc, err := service.New(srv.Connect(t), service.Config{Name: "depot", Provision: new(false), Logger: quiet()}, books.packed())
	if err != nil {
		t.Fatal(err)
	}
	if err := svc.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "SCHEDULED") || !strings.Contains(err.Error(), "natsctl apply") {
		t.Errorf("Run: %v", err)
	}
	for name := range srv.JetStream(t).StreamNames(t.Context()).Name() {
		t.Errorf("stream %s was made", name)
	}
}

// declaring is a child of Add with a declaration of its own.
type declaring struct{ *consume.Consumer }

// TestDeclarationOfParts collects what all parts need, once each.
func TestDeclarationOfParts(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	js := srv.JetStream(t)
	var books ledger
	own := func(ns string) declaring {
		c, err := consume.New(js, consume.Config{Group: "archive", Namespace: ns}, consume.OnEvent(">", func(context.Context, envelope.Raw) error { return nil }, consume.WithName("all")))
		if err != nil {
			t.Fatal(err)
		}
		return declaring{c}
	}
	cfg := service.Config{Name: "depot", Version: "1.2.3", Namespace: "blue", Durability: publish.PowerSafe, Logger: quiet()}
	svc, err := service.New(srv.Connect(t), cfg, books.packed(), service.Add("archive", own("blue")))
	if err != nil {
		t.Fatal(err)
	}
	d := svc.Declaration()
	var streams, durables []string
	for _, s := range d.Streams {
		streams = append(streams, s.Name)
		if s.Metadata["agner.durability"] != "PowerSafe" && s.Name != "blue_RETRY_archive" {
			t.Errorf("%s: %v", s.Name, s.Metadata)
		}
	}
	for _, c := range d.Durables {
		durables = append(durables, c.Stream+" "+c.Config.Durable)
	}
	for _, want := range []string{"blue_EVENTS", "blue_DEAD", "blue_SCHEDULED", "blue_RETRY_depot", "blue_RETRY_archive", "blue_AGNER_FLEET"} {
		if n := len(slices.DeleteFunc(slices.Clone(streams), func(s string) bool { return s != want })); n != 1 {
			t.Errorf("%s is declared %d times: %v", want, n, streams)
		}
	}
	slices.Sort(durables)
	if want := []string{
		"blue_EVENTS archive_all", "blue_EVENTS depot_box-packed-v1",
		"blue_RETRY_archive archive_all", "blue_RETRY_depot depot_box-packed-v1",
	}; !slices.Equal(durables, want) {
		t.Errorf("durables %v", durables)
	}
	if d.Service != "depot" || d.Version != "1.2.3" || d.Namespace != "blue" || len(d.Buckets) == 0 {
		t.Errorf("%+v", d)
	}
	if _, err := service.New(srv.Connect(t), cfg, service.Add("archive", own(""))); !errors.Is(err, service.ErrConfig) {
		t.Errorf("a child of another namespace: %v", err)
	}
}
