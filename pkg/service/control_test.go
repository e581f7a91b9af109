package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/control"
	"github.com/agner-go/agner/internal/fleetlog"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/service"
	"github.com/agner-go/agner/pkg/supervise"
)

// look asks a read verb of one instance and decodes its data.
func look[T any](t *testing.T, nc *nats.Conn, instance, verb string, request any) (T, control.Reply) {
	t.Helper()
	r, err := control.Ask(within(t), nc, control.Subject("", control.Read, "billing", instance, verb), request)
	if err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
	var data T
	if err := json.Unmarshal(r.Data, &data); err != nil {
		t.Fatalf("%s: %s: %v", verb, r.Data, err)
	}
	if r.Service != "billing" || r.Instance != instance || r.Verb != verb || time.Since(r.Time).Abs() > time.Minute {
		t.Errorf("%s: %+v", verb, r)
	}
	return data, r
}

// tell asks an admin verb of billing/b-1.
func tell(t *testing.T, nc *nats.Conn, verb string, request any) (control.Done, error) {
	t.Helper()
	r, err := control.Ask(within(t), nc, control.Subject("", control.Admin, "billing", "b-1", verb), request)
	var done control.Done
	if err == nil {
		err = json.Unmarshal(r.Data, &done)
	}
	return done, err
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func codeOf(err error) string {
	var f *control.Error
	if errors.As(err, &f) {
		return f.Code
	}
	return fmt.Sprint(err)
}

// controlled is a service of each kind of part, whose handlers wait.
type controlled struct {
	*running
	nc      *nats.Conn // an operator's
	log     logged
	level   slog.LevelVar
	starts  chan string
	release chan struct{}
}

func startControlled(t *testing.T, srv *testserver.Server, admin bool) *controlled {
	t.Helper()
	c := &controlled{nc: srv.Connect(t), starts: make(chan string, 100), release: make(chan struct{})}
	c.running = start(t, srv.Connect(t), service.Config{
		Name: "billing", Instance: "b-1", Version: "1.2.0", Admin: admin, LogLevel: &c.level,
		Logger: slog.New(slog.NewJSONHandler(&c.log, nil)), Consume: consume.Config{FirstDelay: 250 * time.Millisecond},
	},
		service.Add("cache", supervise.RunnerFunc(func(ctx context.Context) error {
			c.starts <- "cache"
			<-ctx.Done()
			return nil
		})),
		service.On(func(_ context.Context, e envelope.Event[orderPlaced]) error {
			if e.Delivery.Attempt == 1 {
				return errors.New("not yet")
			}
			c.starts <- "charge"
			<-c.release
			return nil
		}, consume.WithName("charge")),
		service.Handle("wait", c.waitHere))
	return c
}

func (c *controlled) waitHere(context.Context, struct{}) (int, error) {
	c.starts <- "wait"
	<-c.release
	return 1, nil
}

// await waits until so many handlers or children of a name have begun.
func (c *controlled) await(t *testing.T, name string) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case got := <-c.starts:
			if got == name {
				return
			}
		case <-limit:
			t.Fatalf("%s did not begin", name)
		}
	}
}

func TestControlReads(t *testing.T) {
	t.Parallel()
	c := startControlled(t, testserver.Start(t), false)
	if _, err := c.Publisher().Publish(t.Context(), orderPlaced{OrderID: "o-1"}); err != nil {
		t.Fatal(err)
	}
	c.await(t, "charge")
	m := newRequest("rpc.billing.wait", service.HeaderCausation, "e-7")
	if err := c.nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	c.await(t, "wait")

	if r, _ := look[service.Readiness](t, c.nc, "b-1", control.VerbReady, nil); !r.Ready {
		t.Errorf("ready: %+v", r)
	}
	st, reply := look[map[string]any](t, c.nc, "b-1", control.VerbStatus, nil)
	if st["state"] != "ready" || st["version"] != "1.2.0" || st["tree"] != nil || reply.Version != "1.2.0" {
		t.Errorf("status: %v", st)
	}
	tree, _ := look[supervise.Status](t, c.nc, "b-1", control.VerbTree, nil)
	for _, path := range []string{"billing", "billing/cache", "billing/events/charge", "billing/calls/wait"} {
		if n := tree.Find(path); n == nil || n.State != supervise.StateRunning {
			t.Errorf("tree: %s: %+v", path, n)
		}
	}
	running, _ := look[[]service.InFlight](t, c.nc, "b-1", control.VerbInFlight, control.InFlightRequest{Stacks: true})
	if len(running) != 2 {
		t.Fatalf("in flight: %+v", running)
	}
	event, call := running[0], running[1] // the oldest first
	if e := event.Event; e == nil || e.Subscription != "charge" || e.Type != "shop.order.placed.v1" || e.Attempt != 2 ||
		e.EventID == "" || e.Stream != "RETRY_billing" || event.Timeout != time.Minute || event.Age <= call.Age {
		t.Errorf("event: %+v %+v", event, e)
	}
	if call.Endpoint != "wait" || call.CausationID != "e-7" || !call.Cast || call.Age <= 0 ||
		!strings.Contains(call.Stack, "waitHere") || !strings.HasPrefix(call.Stack, "goroutine "+call.Goroutine) {
		t.Errorf("call: %+v", call)
	}
	if none, _ := look[[]service.InFlight](t, c.nc, "b-1", control.VerbInFlight, control.InFlightRequest{OlderMS: 60_000}); len(none) != 0 {
		t.Errorf("older than a minute: %+v", none)
	}
	if one, _ := look[[]service.InFlight](t, c.nc, "b-1", control.VerbInFlight, control.InFlightRequest{Limit: 1}); len(one) != 1 || one[0].Event == nil {
		t.Errorf("the oldest: %+v", one)
	}
	testserver.Eventually(t, 5*time.Second, func() error {
		r, err := control.Ask(t.Context(), c.nc, "agner.read.billing.b-1.goroutines", nil)
		// Tests beside this one may have so many goroutines that the dump is cut.
		if cut := r.Truncated && r.Omitted > 0; err == nil && !cut && !strings.Contains(string(r.Data), "waitHere") {
			t.Errorf("dump of %d bytes, truncated %t, omitted %d: %.200s", len(r.Data), r.Truncated, r.Omitted, r.Data)
		}
		return err // too soon after the stacks
	}, "a dump")
	if l, _ := look[control.LogLevel](t, c.nc, "b-1", control.VerbLogLevel, nil); l.Level != "INFO" {
		t.Errorf("level %+v", l)
	}
	close(c.release)
	testserver.Eventually(t, 5*time.Second, func() bool { return len(c.InFlight(false)) == 0 }, "nothing runs")
}

func TestControlRefuses(t *testing.T) {
	t.Parallel()
	c := startControlled(t, testserver.Start(t), false)
	close(c.release)
	for subject, want := range map[string]string{
		"agner.read.billing.b-1.erase":            "unimplemented",
		"agner.read.billing.b-1.drain":            "unimplemented",
		"agner.read.billing.b-1.status {\"x\":1}": "invalid_argument",
		"agner.read.billing.b-1.inflight {}{}":    "invalid_argument",
		"agner.read.billing.b-1.inflight [":       "invalid_argument",
	} {
		subject, body, _ := strings.Cut(subject, " ")
		var request any
		if body != "" {
			request = rawJSON(body)
		}
		if _, err := askRaw(t, c.nc, subject, request); codeOf(err) != want {
			t.Errorf("%s %s: %v, want %s", subject, body, err, want)
		}
	}
	// Admin is off: nobody is there.
	if _, err := tell(t, c.nc, control.VerbDrain, control.DrainRequest{Act: control.Act{By: "ann"}}); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("drain: %v", err)
	}
	// A reply subject that is no inbox gets nothing; nor does a request without.
	for _, reply := range []string{"", "$JS.API.STREAM.DELETE.EVENTS", "events.x.y"} {
		if err := c.nc.PublishMsg(&nats.Msg{Subject: "agner.read.billing.b-1.status", Reply: reply}); err != nil {
			t.Fatal(err)
		}
	}
	testserver.Eventually(t, 5*time.Second, func() bool { return c.Status().RefusedReplies == 3 }, "three dropped")
}

type rawJSON string

func askRaw(t *testing.T, nc *nats.Conn, subject string, request any) (control.Reply, error) {
	t.Helper()
	raw, ok := request.(rawJSON)
	if !ok {
		return control.Ask(within(t), nc, subject, request)
	}
	m, err := nc.RequestWithContext(within(t), subject, []byte(raw))
	if err != nil {
		return control.Reply{}, err
	}
	return control.Reply{}, &control.Error{Code: m.Header.Get(service.HeaderErrorCode), Message: string(m.Data)}
}

// TestControlScatter asks all instances of a service, and all services.
func TestControlScatter(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	for _, name := range []string{"billing/b-1", "billing/b-2", "shipping/s-1"} {
		name, instance, _ := strings.Cut(name, "/")
		start(t, srv.Connect(t), service.Config{Name: name, Instance: instance, Logger: quiet()}, service.Handle("quote", price))
	}
	nc := srv.Connect(t)
	for subject, want := range map[string]string{
		"agner.read.billing.all.ready": "billing/b-1 billing/b-2",
		"agner.read.all.all.tree":      "billing/b-1 billing/b-2 shipping/s-1",
		"agner.read.billing.b-2.ready": "billing/b-2",
	} {
		var got []string
		err := control.Gather(within(t), nc, subject, nil, func(r control.Reply, err error) bool {
			if err != nil {
				t.Error(err)
			}
			got = append(got, r.Service+"/"+r.Instance)
			return true
		})
		slices.Sort(got)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, %v", subject, got, err)
		}
	}
	err := control.Gather(within(t), nc, "agner.read.nobody.all.ready", nil, func(control.Reply, error) bool { return true })
	if !errors.Is(err, nats.ErrNoResponders) {
		t.Error(err)
	}
}

// TestControlActs does each admin verb, and sees its effect and its record.
func TestControlActs(t *testing.T) {
	t.Parallel()
	c := startControlled(t, testserver.Start(t), true)
	close(c.release)
	c.await(t, "cache")
	ann := control.Act{By: "ann@ops", Why: "test"}
	did := func(verb string, request any) control.Done {
		t.Helper()
		done, err := tell(t, c.nc, verb, request)
		if err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
		if done.Verb != verb || done.DryRun {
			t.Errorf("%+v", done)
		}
		return done
	}
	did(control.VerbRestart, control.RestartRequest{Act: ann, Child: "cache"})
	c.await(t, "cache")
	did(control.VerbRestart, control.RestartRequest{Act: ann, Child: "calls/wait"})
	did(control.VerbRestart, control.RestartRequest{Act: ann, Child: "events/charge"})
	st := c.Status()
	for _, path := range []string{"billing/cache", "billing/calls/wait", "billing/events/charge"} {
		if n := st.Tree.Find(path); n == nil || n.Starts != 2 || n.Restarts != 0 {
			t.Errorf("%s: %+v", path, n)
		}
	}
	did(control.VerbLogLevel, control.LogLevelRequest{Act: ann, Level: "debug"})
	if c.level.Level() != slog.LevelDebug {
		t.Errorf("level %s", c.level.Level())
	}
	did(control.VerbConcurrency, control.ConcurrencyRequest{Act: ann, Subscription: "charge", Concurrency: 3})
	did(control.VerbRate, control.RateRequest{Act: ann, Subscription: "charge", PerSecond: 1000})

	if d := did(control.VerbPause, control.PauseRequest{Act: ann, ForMS: 60_000}); !slices.Equal(d.Targets, []string{"charge"}) {
		t.Errorf("%+v", d)
	}
	if !paused(t, c.nc) {
		t.Error("not paused")
	}
	did(control.VerbResume, control.ResumeRequest{Act: ann, Subscription: "charge"})
	if paused(t, c.nc) {
		t.Error("not resumed")
	}
	did(control.VerbDrain, control.DrainRequest{Act: ann})
	testserver.Eventually(t, 5*time.Second, func() bool { return c.Status().State == service.StateIdle }, "it drains")
	if err := c.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	acts := 0
	for line := range strings.Lines(c.log.String()) {
		if strings.Contains(line, `"msg":"admin act"`) {
			acts++
			for _, part := range []string{`"by":"ann@ops"`, `"why":"test"`, `"inbox":"_INBOX.`, `"instance":"b-1"`} {
				if !strings.Contains(line, part) {
					t.Errorf("the record has no %s: %s", part, line)
				}
			}
		}
	}
	if acts != 9 {
		t.Errorf("%d acts are logged, want 9", acts)
	}
	js, err := jetstream.New(c.nc)
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	for r, err := range fleetlog.Read(t.Context(), js, fleetlog.Query{Kind: fleetlog.KindAdmin, Service: "billing", Instance: "b-1"}) {
		if err != nil || r.By != "ann@ops" || r.Text != "test" || r.Reason != "done" || r.Detail["targets"] == "" {
			t.Errorf("record %+v, %v", r, err)
		}
		records++
	}
	if records != 9 {
		t.Errorf("the fleet log has %d acts, want 9", records)
	}
}

func paused(t *testing.T, nc *nats.Conn) bool {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	d, err := js.Consumer(t.Context(), "EVENTS", "billing_charge")
	if err != nil {
		t.Fatal(err)
	}
	return d.CachedInfo().Paused
}

// TestControlRefusesActs: what is wrong changes nothing and is no act.
func TestControlRefusesActs(t *testing.T) {
	t.Parallel()
	c := startControlled(t, testserver.Start(t), true)
	close(c.release)
	ann := control.Act{By: "ann"}
	for name, tc := range map[string]struct {
		verb    string
		request any
		want    string
	}{
		"nobody":         {control.VerbDrain, control.DrainRequest{}, "invalid_argument"},
		"blank":          {control.VerbDrain, control.DrainRequest{Act: control.Act{By: " \t"}}, "invalid_argument"},
		"empty":          {control.VerbDrain, nil, "invalid_argument"},
		"misspelt":       {control.VerbPause, map[string]any{"by": "ann", "for_ms": 1000, "subscriptions": "charge"}, "invalid_argument"},
		"no time":        {control.VerbPause, control.PauseRequest{Act: ann}, "invalid_argument"},
		"long":           {control.VerbPause, control.PauseRequest{Act: ann, ForMS: 1 << 40}, "invalid_argument"},
		"overflow":       {control.VerbPause, control.PauseRequest{Act: ann, ForMS: 1 << 62}, "invalid_argument"},
		"unknown":        {control.VerbPause, control.PauseRequest{Act: ann, ForMS: 1000, Subscription: "x"}, "not_found"},
		"no child":       {control.VerbRestart, control.RestartRequest{Act: ann}, "not_found"},
		"unknown child":  {control.VerbRestart, control.RestartRequest{Act: ann, Child: "calls/x"}, "not_found"},
		"level":          {control.VerbLogLevel, control.LogLevelRequest{Act: ann, Level: "loud"}, "invalid_argument"},
		"concurrency":    {control.VerbConcurrency, control.ConcurrencyRequest{Act: ann, Subscription: "charge"}, "invalid_argument"},
		"no one":         {control.VerbConcurrency, control.ConcurrencyRequest{Act: ann, Concurrency: 1}, "invalid_argument"},
		"rate":           {control.VerbRate, control.RateRequest{Act: ann, Subscription: "charge", PerSecond: -1}, "invalid_argument"},
		"read verb":      {control.VerbStatus, nil, "unimplemented"},
		"no verb":        {"erase", nil, "unimplemented"},
		"dry run":        {control.VerbDrain, control.DrainRequest{Act: control.Act{By: "ann", DryRun: true}}, "<nil>"},
		"dry run, wrong": {control.VerbRestart, control.RestartRequest{Act: control.Act{By: "ann", DryRun: true}, Child: "x"}, "not_found"},
	} {
		if _, err := tell(t, c.nc, tc.verb, tc.request); codeOf(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	if st := c.Status(); st.State != service.StateReady || strings.Contains(c.log.String(), "admin act") || paused(t, c.nc) {
		t.Errorf("state %s, log %s", st.State, c.log.String())
	}
}

// A service that may not listen to operators serves all the same, and says so.
func TestControlNotPermitted(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Conf(`authorization { users: [ { user: billing, password: p, permissions: {
		publish: [">"], subscribe: ["rpc.>", "$SRV.>", "_INBOX.>"] } } ] }`), testserver.Client(nats.UserInfo("billing", "p")))
	var log logged
	nc := srv.Connect(t, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	start(t, nc, service.Config{Name: "billing", Logger: log.logger()}, service.Handle("quote", price))
	if _, err := service.Call[quote](t.Context(), newClient(t, nc, service.ClientConfig{}), "billing.quote", quoteRequest{SKU: "A"}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "docs/permissions.md") {
		t.Errorf("the log says %s", log.String())
	}
}

// TestControlCutsReplies makes a server that takes little, and answers that are
// more.
func TestControlCutsReplies(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Conf("max_payload: 8192"))
	nc := srv.Connect(t)
	many, err := supervise.New(supervise.Config{Name: "many", Logger: quiet()}, children(300)...)
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	svc := start(t, nc, service.Config{Name: "billing", Instance: "b-1", Logger: quiet()}, service.Add("many", many),
		service.Handle("wait", func(context.Context, struct{}) (int, error) { <-release; return 0, nil }),
		service.Handle("fail", func(context.Context, struct{}) (int, error) {
			return 0, service.Errorf(service.CodeNotFound, "%s", strings.Repeat("long ", 5000))
		}))
	for range 60 {
		if err := nc.Publish("rpc.billing.wait", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Publish("rpc.billing.fail", nil); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, 5*time.Second, func() bool {
		e := svc.Status().Endpoints
		return e[0].Running == 60 && e[1].Errors == 1
	}, "they run")
	tree, r := look[supervise.Status](t, nc, "b-1", control.VerbTree, nil)
	if got := tree.Find("billing/many"); !r.Truncated || got == nil || len(got.Children) == 0 || len(got.Children)+r.Omitted != 300 {
		t.Errorf("tree: %d omitted", r.Omitted)
	}
	running, r := look[[]service.InFlight](t, nc, "b-1", control.VerbInFlight, control.InFlightRequest{Stacks: true})
	if !r.Truncated || len(running) == 0 || len(running)+r.Omitted != 60 {
		t.Errorf("in flight: %d, %d omitted", len(running), r.Omitted)
	}
	st, r := look[service.Status](t, nc, "b-1", control.VerbStatus, nil)
	if !r.Truncated || len(st.Endpoints[1].LastError) > 300 {
		t.Errorf("status: %+v", st.Endpoints)
	}
	testserver.Eventually(t, 5*time.Second, func() error {
		r, err := control.Ask(t.Context(), nc, "agner.read.billing.b-1.goroutines", nil)
		if err == nil && (!r.Truncated || r.Omitted == 0 || len(r.Data) < 4000) {
			t.Errorf("dump of %d, %d omitted", len(r.Data), r.Omitted)
		}
		return err
	}, "a dump")
	close(release)
}

func children(n int) (all []supervise.Child) {
	for i := range n {
		all = append(all, supervise.Child{Name: fmt.Sprintf("child-%d", i), Runner: supervise.RunnerFunc(func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		})})
	}
	return all
}
