package service_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/fleetlog"
	"github.com/agner-go/agner/internal/presence"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

// watching collects the changes of a fleet, with when they were told.
type watching struct {
	mu      sync.Mutex
	changes []service.Change
	at      []time.Time
	stop    func()
}

func watchFleet(t *testing.T, cl *service.Client, name string) *watching {
	t.Helper()
	w := &watching{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c, err := range service.Watch(ctx, cl, name) {
			if err != nil {
				t.Error(err)
				return
			}
			w.mu.Lock()
			w.changes, w.at = append(w.changes, c), append(w.at, time.Now())
			w.mu.Unlock()
		}
	}()
	w.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(w.stop)
	return w
}

// each goes through what was told so far.
func (w *watching) each(do func(c service.Change, at time.Time)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.changes {
		do(w.changes[i], w.at[i])
	}
}

// find waits for a change and says when it was told.
func (w *watching) find(t *testing.T, within time.Duration, kind service.ChangeKind, id string, state service.State) (service.Change, time.Time) {
	t.Helper()
	var c service.Change
	var at time.Time
	testserver.Eventually(t, within, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for i := range w.changes {
			c, at = w.changes[i], w.at[i]
			if c.Kind == kind && c.Instance.ID == id && (state == "" || c.Instance.State == state) {
				return nil
			}
		}
		return fmt.Errorf("told %+v", w.changes)
	}, "%s of %s", kind, id)
	return c, at
}

// downs are how often each incarnation was told to be down.
func (w *watching) downs() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := map[string]int{}
	for _, c := range w.changes {
		if c.Kind == service.Down {
			n[c.Instance.ID+" "+c.Instance.Incarnation]++
		}
	}
	return n
}

func ids(all []service.Instance) []string {
	var names []string
	for _, i := range all {
		names = append(names, i.Service+"."+i.ID)
	}
	slices.Sort(names)
	return names
}

// TestPresence shows an instance from its start to its goodbye: what it says of
// itself, to whom, and how soon.
func TestPresence(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t)
	cl := newClient(t, s.Connect(t), service.ClientConfig{})
	if all, err := service.Instances(t.Context(), cl, ""); err != nil || len(all) != 0 {
		t.Fatalf("before anybody was there: %v, %v", all, err)
	}
	cfg := service.Config{
		Name: "billing", Instance: "b-1", Version: "1.2.3", Metadata: map[string]string{"zone": "a"},
		Presence: service.PresenceConfig{Load: func() float64 { return 0.348 }}, Logger: quiet(),
	}
	release := make(chan struct{})
	slow := service.Add("slow", runFunc(func(ctx context.Context) error {
		<-ctx.Done()
		<-release
		return nil
	}))
	b1 := start(t, s.Connect(t), cfg, service.Handle("quote", price), slow)
	testserver.Eventually(t, 5*time.Second, func() bool {
		all, err := service.Instances(t.Context(), cl, "billing")
		return err == nil && len(all) == 1 && all[0].State == service.StateReady
	}, "registered as ready")
	w := watchFleet(t, cl, "")
	up, _ := w.find(t, 5*time.Second, service.Up, "b-1", service.StateReady)
	i := up.Instance
	if i.Service != "billing" || i.Version != "1.2.3" || i.Host == "" || i.PID == 0 || i.Started.IsZero() || i.Load != 0.3 ||
		!slices.Equal(i.Endpoints, []string{"quote"}) || !maps.Equal(i.Metadata, cfg.Metadata) || i.Incarnation == "" {
		t.Errorf("%+v", i)
	}

	cfg.Name, cfg.Instance = "shop", "s-1"
	start(t, s.Connect(t), cfg)
	w.find(t, 5*time.Second, service.Up, "s-1", "")
	all, err := service.Instances(t.Context(), cl, "")
	if err != nil || !slices.Equal(ids(all), []string{"billing.b-1", "shop.s-1"}) {
		t.Errorf("%v, %v", ids(all), err)
	}

	monitored := monitor(t, cl, service.Instance{Service: "billing", ID: "b-1"})
	stopped := make(chan error, 1)
	go func() { stopped <- b1.stop() }()
	w.find(t, 5*time.Second, service.Changed, "b-1", service.StateDraining)
	close(release)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	ended := time.Now()
	down, at := w.find(t, 5*time.Second, service.Down, "b-1", "")
	if down.Reason != service.ReasonGoodbye || at.Sub(ended) > 200*time.Millisecond {
		t.Errorf("%+v, told %s after the end", down, at.Sub(ended))
	}
	if got := <-monitored; got.err != nil || got.Reason != service.ReasonGoodbye || got.at.Sub(ended) > 200*time.Millisecond {
		t.Errorf("the monitor was told %+v", got)
	}
	// Gone before, and never there.
	for _, c := range []struct {
		i    service.Instance
		want service.DownReason
	}{
		{service.Instance{Service: "billing", ID: "b-1"}, service.ReasonGoodbye},
		{i, service.ReasonGoodbye},
		{service.Instance{Service: "billing", ID: "b-9"}, service.ReasonUnknown},
		{service.Instance{Service: "shop", ID: "s-1", Incarnation: "another"}, service.ReasonReplaced},
	} {
		if got := <-monitor(t, cl, c.i); got.err != nil || got.Reason != c.want || got.Instance.ID != c.i.ID {
			t.Errorf("monitor of %+v: %+v, want %s", c.i, got, c.want)
		}
	}
	if _, err := service.Monitor(t.Context(), cl, service.Instance{Service: "a.>", ID: "b"}); err == nil {
		t.Error("a monitor of a wildcard")
	}
}

type told struct {
	service.Change
	err error
	at  time.Time
}

func monitor(t *testing.T, cl *service.Client, i service.Instance) <-chan told {
	t.Helper()
	c := make(chan told, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		down, err := service.Monitor(ctx, cl, i)
		c <- told{down, err, time.Now()}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return c
}

// TestFleetLog finds in the fleet log what has happened: an instance's life, a
// child that failed, an event that was given up, and one that was killed, which
// another has reported.
func TestFleetLog(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t)
	js := s.JetStream(t)
	failures := make(chan struct{}, 1)
	failures <- struct{}{}
	child := service.Add("child", runFunc(func(ctx context.Context) error {
		select {
		case <-failures:
			return errors.New("no luck")
		case <-ctx.Done():
			return nil
		}
	}))
	svc := start(t, s.Connect(t), service.Config{Name: "billing", Instance: "b-1", Logger: quiet()}, child)

	// Somebody is there and then no more, as after a kill.
	b, err := presence.Open(t.Context(), js, presence.Config{Name: stream.InstancesName})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Claim(t.Context(), "shop.s-1", []byte(`{"version":"9.9.9"}`)); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{
		"up billing b-1 ": true, "restarted billing b-1 ": true, "down shop s-1 expired": true,
	}
	wantLog(t, s, want)
	if err := svc.stop(); err != nil {
		t.Fatal(err)
	}
	want["draining billing b-1 "], want["down billing b-1 goodbye"] = true, true
	wantLog(t, s, want)
}

func wantLog(t *testing.T, s *testserver.Server, want map[string]bool) {
	t.Helper()
	js := s.JetStream(t)
	testserver.Eventually(t, 20*time.Second, func() error {
		got := map[string]int{}
		for r, err := range fleetlog.Read(t.Context(), js, fleetlog.Query{}) {
			if err != nil {
				return err
			}
			got[fmt.Sprintf("%s %s %s %s", r.Kind, r.Service, r.Instance, r.Reason)]++
		}
		for line := range want {
			if got[line] != 1 {
				return fmt.Errorf("%q stands %d times in %v", line, got[line], got)
			}
		}
		return nil
	}, "fleet log")
}

type runFunc func(ctx context.Context) error

func (f runFunc) Run(ctx context.Context) error { return f(ctx) }

// TestPresenceOff and a server without JetStream: the service does not mind.
func TestPresenceOff(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t)
	svc := start(t, s.Connect(t), service.Config{Name: "billing", Presence: service.PresenceConfig{Off: true}})
	cl := newClient(t, s.Connect(t), service.ClientConfig{})
	if all, err := service.Instances(t.Context(), cl, ""); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if err := svc.stop(); err != nil {
		t.Error(err)
	}
	for range s.JetStream(t).StreamNames(t.Context()).Name() {
		t.Error("a stream was made")
	}
	if _, err := service.New(s.Connect(t), service.Config{Name: "a", Presence: service.PresenceConfig{TTL: time.Millisecond}}); err == nil {
		t.Error("a TTL of a millisecond")
	}
}

// TestPresencePermissions runs an instance with the permissions of docs/wire.md
// and no others, and one with none at all: it is not seen, and works.
func TestPresencePermissions(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Conf(`authorization { users: [
		{ user: root, password: p }
		{ user: billing, password: p, permissions: {
			publish: ["$KV.AGNER_INSTANCES.billing.*", "$KV.AGNER_INSTANCES.observer", "fleet.*.billing.*", "fleet.down.>",
				"$JS.API.STREAM.INFO.KV_AGNER_INSTANCES", "$JS.API.STREAM.INFO.AGNER_FLEET",
				"$JS.API.STREAM.CREATE.KV_AGNER_INSTANCES", "$JS.API.STREAM.CREATE.AGNER_FLEET",
				"$JS.API.DIRECT.GET.KV_AGNER_INSTANCES", "$JS.API.DIRECT.GET.KV_AGNER_INSTANCES.>"],
			subscribe: ["rpc.billing.>", "$SRV.>", "agner.read.>", "$KV.AGNER_INSTANCES.*.*", "_INBOX.billing.>"] } }
		{ user: mute, password: p, permissions: {
			publish: ["_INBOX.>"], subscribe: ["rpc.mute.>", "$SRV.>", "agner.read.>", "_INBOX.mute.>"] } }
	] }`), testserver.Client(nats.UserInfo("root", "p")))
	var refused logged
	as := func(user string) *nats.Conn {
		return s.Connect(t, nats.UserInfo(user, "p"), nats.CustomInboxPrefix("_INBOX."+user),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { fmt.Fprintln(&refused, user, err) }))
	}
	svc := start(t, as("billing"), service.Config{Name: "billing", Instance: "b-1", Logger: quiet()}, service.Handle("quote", price))
	mute := start(t, as("mute"), service.Config{Name: "mute", Logger: quiet()}, service.Handle("quote", price))
	cl := newClient(t, s.Connect(t), service.ClientConfig{})
	w := watchFleet(t, cl, "")
	w.find(t, 10*time.Second, service.Up, "b-1", "")
	if _, err := service.Call[quote](t.Context(), cl, "mute.quote", quoteRequest{SKU: "A"}); err != nil {
		t.Error(err)
	}
	b, err := presence.Open(t.Context(), s.JetStream(t), presence.Config{Name: stream.InstancesName})
	if err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, 20*time.Second, func() bool {
		e, err := b.Get(t.Context(), "observer")
		return err == nil && e.State == presence.Held && string(e.Value) == "billing/b-1"
	}, "the observer")
	if err := svc.stop(); err != nil {
		t.Error(err)
	}
	if down, _ := w.find(t, 5*time.Second, service.Down, "b-1", ""); down.Reason != service.ReasonGoodbye {
		t.Errorf("%+v", down)
	}
	wantLog(t, s, map[string]bool{"up billing b-1 ": true, "down billing b-1 goodbye": true})
	if err := mute.stop(); err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(refused.String()) {
		if !strings.HasPrefix(line, "mute") {
			t.Errorf("refused: %s", line)
		}
	}
}
