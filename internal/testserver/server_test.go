package testserver_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
)

// noMainEnv makes this package look like one that does not call Main.
const noMainEnv = "AGNER_TESTSERVER_NO_MAIN"

func TestMain(m *testing.M) {
	runProgramIfAsked()
	if os.Getenv(noMainEnv) != "" {
		os.Exit(m.Run())
	}
	os.Exit(testserver.Main(m))
}

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

// users is a server configuration with a caller of few rights.
const users = `
accounts {
  APP {
    jetstream: enabled
    users: [
      {user: admin, password: a}
      {user: caller, password: c, permissions: {publish: "svc.>", subscribe: "_INBOX.>"}}
    ]
  }
}`

func TestConfEnforcesPermissions(t *testing.T) {
	t.Parallel()
	admin := testserver.Client(nats.UserInfo("admin", "a"))
	for name, connect := range map[string]func(tb testing.TB, opts ...nats.Option) *nats.Conn{
		"embedded": testserver.Start(t, testserver.Conf(users), admin).Connect,
		"child":    testserver.StartChild(t, testserver.Conf(users), admin).Connect,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js, err := jetstream.New(connect(t))
			if err != nil {
				t.Fatal(err)
			}
			makeStream(t, js)

			denied := make(chan error, 1)
			nc := connect(t, nats.UserInfo("caller", "c"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
				denied <- err
			}))
			if err := nc.Publish("events.a", nil); err != nil {
				t.Fatal(err)
			}
			if err := <-denied; !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("publish = %v, want a permission violation", err)
			}
			requireMsgs(t, js, 0)
		})
	}
}

func TestOptionsHaveTheLastWord(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t,
		testserver.Conf("max_payload: 4KB"),
		testserver.Options(func(o *server.Options) { o.MaxPayload = 1 << 10 }))
	if n := s.Connect(t).MaxPayload(); n != 1<<10 {
		t.Errorf("MaxPayload = %d", n)
	}
}

func TestBadStartsAreToldApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	testserver.Start(t, testserver.StoreDir(dir))
	for name, tt := range map[string]struct {
		start func(tb testing.TB)
		want  string
	}{
		"conf":       {func(tb testing.TB) { tb.Helper(); testserver.Start(tb, testserver.Conf("nonsense: 1")) }, "nonsense"},
		"child conf": {func(tb testing.TB) { tb.Helper(); testserver.StartChild(tb, testserver.Conf("nonsense: 1")) }, "nonsense"},
		"child options": {func(tb testing.TB) {
			tb.Helper()
			testserver.StartChild(tb, testserver.Options(func(*server.Options) {}))
		}, "use Conf"},
		"store":        {func(tb testing.TB) { tb.Helper(); testserver.Start(tb, testserver.StoreDir(dir)) }, "in use by another server"},
		"child store":  {func(tb testing.TB) { tb.Helper(); testserver.StartChild(tb, testserver.StoreDir(dir)) }, "in use by another server"},
		"proxy target": {func(tb testing.TB) { tb.Helper(); testserver.StartProxy(tb, "localhost") }, "no URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, failed := record(t, tt.start)
			if !failed || !strings.Contains(text, tt.want) {
				t.Errorf("failed: %t, said %q; want %q in it", failed, text, tt.want)
			}
		})
	}
}

func TestLogIsShownOnlyOfAFailedTest(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(tb testing.TB){
		"embedded": func(tb testing.TB) { tb.Helper(); testserver.Start(tb) },
		"child":    func(tb testing.TB) { tb.Helper(); testserver.StartChild(tb).Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if text, _ := record(t, start); text != "" {
				t.Errorf("a test that passes says %q", text)
			}
			text, _ := record(t, func(tb testing.TB) {
				tb.Helper()
				start(tb)
				tb.Errorf("fail")
			})
			for _, want := range []string{"log of the", "Server is ready", "Server Exiting"} {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in the log of a failed test:\n%s", want, text)
				}
			}
		})
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		testserver.Start(b).Shutdown()
	}
}

func BenchmarkStartChild(b *testing.B) {
	for b.Loop() {
		testserver.StartChild(b).Kill()
	}
}
