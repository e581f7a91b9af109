package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/embedded"
	"github.com/agner-go/agner/internal/testserver"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutdown(t, s) })
	return s
}

func shutdown(t *testing.T, s *embedded.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func TestZeroConfigIsATemporaryServer(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{})
	if !filepath.IsAbs(s.StoreDir()) {
		t.Errorf("StoreDir = %q", s.StoreDir())
	}
	dialed, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	js, err := jetstream.New(dialed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S"}); err != nil {
		t.Fatal(err)
	}
	dialed.Close()
	shutdown(t, s)
	shutdown(t, s) // again is the same
	if _, err := os.Stat(s.StoreDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary store is still there: %v", err)
	}
}

func TestStoreIsKeptAndLocked(t *testing.T) {
	t.Parallel()
	cfg := embedded.Config{NoListen: true, StoreDir: filepath.Join(t.TempDir(), "made", "when missing"), SyncAlways: true}
	s := start(t, cfg)
	if s.URL() != "" {
		t.Errorf("URL = %q without a socket", s.URL())
	}
	nc, err := s.ConnectInProcess()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S"}); err != nil {
		t.Fatal(err)
	}

	if _, err := embedded.Start(cfg); !errors.Is(err, embedded.ErrStoreBusy) {
		t.Errorf("a second server on the store: %v", err)
	}

	shutdown(t, s)
	again := start(t, cfg)
	nc2, err := again.ConnectInProcess()
	if err != nil {
		t.Fatal(err)
	}
	defer nc2.Close()
	js2, err := jetstream.New(nc2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js2.Stream(t.Context(), "S"); err != nil {
		t.Errorf("the stream is gone: %v", err)
	}
}

func TestBusyPortIsToldAndReleasesTheStore(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := embedded.Config{Port: taken.Addr().(*net.TCPAddr).Port, StoreDir: t.TempDir()}
	_, err = embedded.Start(cfg)
	if !errors.Is(err, embedded.ErrPortBusy) || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Fatalf("Start on a busy port: %v", err)
	}

	cfg.Port = 0
	s := start(t, cfg) // the store is free again
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	if port, err := strconv.Atoi(u.Port()); err != nil || port == 0 {
		t.Errorf("URL = %q has no port", s.URL())
	}
}

func TestBadConfigIsAnError(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	because := errors.New("because")
	for name, tt := range map[string]struct {
		cfg  embedded.Config
		want string
	}{
		"port":           {embedded.Config{Port: 70000}, "70000"},
		"negative port":  {embedded.Config{Port: -2}, "-2"},
		"host":           {embedded.Config{Host: "192.0.2.1", Port: 4222}, "192.0.2.1"},
		"host, any port": {embedded.Config{Host: "192.0.2.1"}, "192.0.2.1"},
		"store":          {embedded.Config{StoreDir: file}, "make the store"},
		"options":        {embedded.Config{Options: func(*server.Options) error { return because }}, because.Error()},
		"rejected":       {embedded.Config{Options: func(o *server.Options) error { o.ServerName = "a b"; return nil }}, "space"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := embedded.Start(tt.cfg)
			if err == nil {
				shutdown(t, s)
				t.Fatal("started")
			}
			if !strings.HasPrefix(err.Error(), "start embedded server: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestShutdownGivesUpWaitingWithItsContext(t *testing.T) {
	t.Parallel()
	s := start(t, embedded.Config{NoListen: true})
	because := errors.New("no patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(because)
	// The server may have stopped by the time both are looked at.
	if err := s.Shutdown(ctx); err != nil && !errors.Is(err, because) {
		t.Errorf("Shutdown = %v", err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { shutdown(t, s) })
	}
	all.Wait()
	if _, err := s.ConnectInProcess(); err == nil {
		t.Error("connected to a server that is shut down")
	}
}

func TestLogGoesToTheLogger(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer // slog's handler serializes writes; read after Shutdown
	s := start(t, embedded.Config{NoListen: true, Name: "n1", Logger: slog.New(slog.NewTextHandler(&buf, nil))})
	shutdown(t, s)
	for _, want := range []string{"level=INFO", "Server is ready", "n1", "Server Exiting"} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, buf.String())
		}
	}
}
