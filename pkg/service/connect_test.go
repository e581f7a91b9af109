package service_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

func connect(t *testing.T, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := service.Connect(t.Context(), url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestConnectInboxPrefix(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Listen())
	for _, tc := range []struct {
		opts []nats.Option
		want string
	}{
		{nil, "_INBOX."},
		{[]nats.Option{nats.Name("billing")}, "_INBOX.billing."},
		{[]nats.Option{nats.Name("my app.v1 >")}, "_INBOX.my_20app_2Ev1_20_3E."},
		{[]nats.Option{nats.Name(strings.Repeat("n", 500))}, "_INBOX." + strings.Repeat("n", 100) + "."},
		{[]nats.Option{nats.Name("billing"), nats.CustomInboxPrefix("_INBOX_mine")}, "_INBOX_mine."},
	} {
		nc := connect(t, srv.URL(), tc.opts...)
		start(t, nc, service.Config{Name: "billing"}, service.Handle("quote", price))
		if inbox := nc.NewInbox(); !strings.HasPrefix(inbox, tc.want) {
			t.Errorf("inbox %s, want %s…", inbox, tc.want)
		}
		if _, err := service.Call[quote](t.Context(), newClient(t, nc, service.ClientConfig{}), "billing.quote", quoteRequest{SKU: "A"}); err != nil {
			t.Error(err)
		}
	}
}

// While there is no server it tries again; what a person must mend it returns.
func TestConnectFirst(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Listen(), testserver.Conf(`authorization { user: a, password: b }`),
		testserver.Client(nats.UserInfo("a", "b")))
	if _, err := service.Connect(t.Context(), srv.URL(), nats.UserInfo("a", "wrong")); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("got %v", err)
	}
	if _, err := service.Connect(t.Context(), "nats://[", nats.UserInfo("a", "b")); err == nil {
		t.Error("a bad URL is no error")
	}
	broken := errors.New("broken option")
	if _, err := service.Connect(t.Context(), srv.URL(), func(*nats.Options) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	srv.Shutdown()
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := service.Connect(short, "nats://a:b@"+strings.TrimPrefix(srv.URL(), "nats://"))
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, nats.ErrNoServers) || strings.Contains(err.Error(), "a:b") {
		t.Errorf("without a server: %v", err)
	}
	connected := make(chan error, 1)
	go func() {
		nc, err := service.Connect(t.Context(), srv.URL(), nats.UserInfo("a", "b"))
		if err == nil {
			nc.Close()
		}
		connected <- err
	}()
	srv.Restart(t)
	if err := <-connected; err != nil {
		t.Error(err)
	}
}

// Credentials that are refused while a service reconnects, as during a
// rotation, do not close its connection for ever.
func TestConnectSurvivesRotation(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Listen(), testserver.Conf(`authorization { user: a, password: right }`),
		testserver.Client(nats.UserInfo("a", "right")))
	var wrong atomic.Int64
	nc := connect(t, srv.URL(), nats.UserInfoHandler(func() (string, string) {
		if wrong.Add(-1) >= 0 {
			return "a", "wrong"
		}
		return "a", "right"
	}))
	wrong.Store(4) // by default the second refusal in a row is the last
	srv.Shutdown()
	srv.Restart(t)
	testserver.Eventually(t, 8*time.Second, func() bool { return nc.IsConnected() && wrong.Load() < 0 }, "connected again")
}

// blackHole is a network in which connections made so far can be made to
// swallow everything, as when a peer's machine is gone.
type blackHole struct {
	srv  *testserver.Server
	dead chan struct{}
}

func (b *blackHole) InProcessConn() (net.Conn, error) {
	c, err := b.srv.InProcessConn()
	return &swallowed{Conn: c, dead: b.dead}, err
}

type swallowed struct {
	net.Conn
	dead <-chan struct{}
}

func (c *swallowed) Write(p []byte) (int, error) {
	select {
	case <-c.dead:
		return len(p), nil
	default:
		return c.Conn.Write(p)
	}
}

// A connection into nothing is noticed within seconds, where nats.go's
// defaults take minutes.
func TestConnectNoticesBlackHole(t *testing.T) {
	testserver.Bubble(t, func(t *testing.T, srv *testserver.Server) {
		t.Helper()
		hole := &blackHole{srv: srv, dead: make(chan struct{})}
		lost := make(chan time.Time, 1)
		nc := connect(t, "nats://127.0.0.1:4222", nats.InProcessServer(hole),
			nats.DisconnectErrHandler(func(*nats.Conn, error) { lost <- time.Now() }))
		began := time.Now()
		close(hole.dead)
		if took := (<-lost).Sub(began); took > 7*time.Second {
			t.Errorf("noticed after %v", took)
		}
		nc.Close()
	})
}
