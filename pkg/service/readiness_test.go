package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/service"
	"github.com/agner-go/agner/pkg/supervise"
)

// probed asks a probe and gives its status and body.
func probed(t *testing.T, h http.Handler) (int, service.Readiness) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	var r service.Readiness
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
	return w.Code, r
}

// expect waits until the probes say so and the missing things are those, by
// their beginnings.
func expect(t *testing.T, svc *service.Service, ready, alive bool, missing ...string) {
	t.Helper()
	code := map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable}
	var last service.Readiness
	testserver.Eventually(t, 10*time.Second, func() error {
		readyz, r := probed(t, svc.Readyz())
		healthz, _ := probed(t, svc.Healthz())
		last = r
		same := slices.EqualFunc(r.Missing, missing, strings.HasPrefix)
		if readyz != code[ready] || healthz != code[alive] || r.Ready != ready || r.Alive != alive || !same {
			return errors.New(strings.Join(last.Missing, ", "))
		}
		return nil
	}, "ready %t, alive %t, missing %q", ready, alive, missing)
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Listen())
	proxy := testserver.StartProxy(t, srv.URL())
	up, release := make(chan struct{}), make(chan struct{})
	svc, err := service.New(proxy.Connect(t), service.Config{Name: "billing", Instance: "b-1", Logger: quiet()},
		service.Add("cache", supervise.ReadyFunc(func(ctx context.Context, ready func()) error {
			<-up
			ready()
			<-ctx.Done()
			return nil
		})),
		service.On(func(context.Context, envelope.Event[orderPlaced]) error { return nil }, consume.WithName("charge")),
		service.Handle("wait", func(context.Context, struct{}) (int, error) { <-release; return 1, nil }))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, svc, false, true, "state: idle")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(ctx) }()
	expect(t, svc, false, true, "state: starting", "child cache: starting", "child events: waiting", "endpoint wait: idle")
	close(up)
	expect(t, svc, true, true)

	js := srv.JetStream(t)
	if err := js.DeleteStream(t.Context(), "RETRY_billing"); err != nil {
		t.Fatal(err)
	}
	expect(t, svc, false, true, "subscription charge: healing")
	expect(t, svc, true, true)

	proxy.Refuse(true)
	proxy.Cut()
	expect(t, svc, false, true, "connection: reconnecting")
	proxy.Refuse(false)
	expect(t, svc, true, true)

	// A handler holds the drain up: not ready, and alive.
	called := make(chan error, 1)
	go func() {
		_, err := service.Call[int](t.Context(), newClient(t, srv.Connect(t), service.ClientConfig{}), "billing.wait", struct{}{})
		called <- err
	}()
	testserver.Eventually(t, 5*time.Second, func() bool { return svc.Status().Endpoints[0].Running == 1 }, "the handler runs")
	cancel()
	expect(t, svc, false, true, "state: draining")
	close(release)
	if err := errors.Join(<-called, <-ended); err != nil {
		t.Error(err)
	}
	expect(t, svc, false, true, "state: idle")
}

// A Run that gave up, and a connection that is closed for good, are what a
// platform's restart can mend.
func TestNotAlive(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	failing, err := service.New(srv.Connect(t), service.Config{
		Name: "billing", Logger: quiet(), Supervision: supervise.Config{MaxRestarts: 1, Backoff: supervise.Backoff{Min: time.Millisecond}},
	}, service.Add("cache", supervise.RunnerFunc(func(context.Context) error { return errors.New("no cache") })))
	if err != nil {
		t.Fatal(err)
	}
	if err := failing.Run(t.Context()); err == nil {
		t.Error("Run did not give up")
	}
	expect(t, failing, false, false, "state: idle")

	nc := srv.Connect(t)
	svc := start(t, nc, service.Config{Name: "quotes", Logger: quiet()}, service.Handle("quote", price))
	nc.Close()
	expect(t, svc.Service, false, false, "state: idle", "connection: closed for good")
}

func TestProbeMethods(t *testing.T) {
	t.Parallel()
	svc, err := service.New(testserver.Start(t).Connect(t), service.Config{Name: "billing"})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(svc.Healthz())
	defer web.Close()
	for method, want := range map[string]int{http.MethodHead: 200, http.MethodPost: 405} {
		req, err := http.NewRequestWithContext(t.Context(), method, web.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != want || method == http.MethodHead && len(body) > 0 {
			t.Errorf("%s: %s, %q", method, res.Status, body)
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
