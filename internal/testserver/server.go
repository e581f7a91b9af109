package testserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/embedded"
)

// stopTimeout bounds the wait for a server to stop. nats-server stops within
// milliseconds; the bound turns a hang into a failure that names it.
const stopTimeout = 30 * time.Second

var errServerDown = errors.New("testserver: the server is shut down")

// Server is a nats-server with JetStream in this process. It is safe for
// concurrent use, except that Shutdown and Restart must not overlap.
type Server struct {
	tb  testing.TB
	set settings
	log *logBuffer

	mu  sync.Mutex
	run *embedded.Server // nil while the server is down
}

var _ nats.InProcessConnProvider = (*Server)(nil)

// Start runs a server on a store of its own until the test ends. It opens no
// socket without [Listen]. It takes a few milliseconds.
func Start(tb testing.TB, opts ...Option) *Server {
	tb.Helper()
	set := newSettings(opts)
	if set.listen {
		set.Port = reservePort(tb)
	}
	return startServer(tb, set, "the server")
}

func startServer(tb testing.TB, set settings, name string) *Server {
	tb.Helper()
	if set.StoreDir == "" {
		set.StoreDir = tb.TempDir()
	}
	s := &Server{tb: tb, set: set, log: newLogBuffer(tb, name)}
	s.start(tb)
	tb.Cleanup(s.Shutdown)
	return s
}

func (s *Server) start(tb testing.TB) {
	tb.Helper()
	run, err := s.set.start(s.log.logger())
	if err != nil {
		tb.Fatalf("testserver: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run = run
}

// start runs a server in this process from settings: the one way for embedded
// servers, for members of a cluster and in a child process.
func (s settings) start(log *slog.Logger) (*embedded.Server, error) {
	return embedded.Start(embedded.Config{
		Logger:       log,
		Name:         s.Name,
		Port:         s.Port,
		NoListen:     s.Port == 0,
		StoreDir:     s.StoreDir,
		SyncAlways:   s.SyncAlways,
		SyncInterval: s.SyncInterval,
		Options:      s.apply,
	})
}

func (s *Server) current() *embedded.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run
}

// Shutdown stops the server and waits until it has stopped, and until the
// connections made by this package have noticed. Its store stays, for
// [Server.Restart]. On a server that is down it does nothing.
func (s *Server) Shutdown() {
	s.tb.Helper()
	s.mu.Lock()
	run := s.run
	s.run = nil
	s.mu.Unlock()
	if run == nil {
		return
	}
	// Not the test's context: that one has ended when cleanups run.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.tb.Context()), stopTimeout)
	defer cancel()
	id := run.NATS().ID()
	noticed := s.set.clients.watch(func(nc *nats.Conn) bool { return nc.ConnectedServerId() == id })
	if err := run.Shutdown(ctx); err != nil {
		s.tb.Errorf("testserver: %v", err)
	}
	noticed()
}

// Restart stops the server if it runs, and starts it on the same store and
// port. Connections of [Server.Connect] find it again by themselves.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.Shutdown()
	s.start(tb)
}

// URL is the address for clients; it is empty without [Listen].
func (s *Server) URL() string {
	if s.set.Port == 0 {
		return ""
	}
	return portURL(s.set.Port)
}

// StoreDir is the directory that holds the streams.
func (s *Server) StoreDir() string { return s.set.StoreDir }

// NATS is the upstream server, or nil while it is down.
func (s *Server) NATS() *server.Server {
	if run := s.current(); run != nil {
		return run.NATS()
	}
	return nil
}

// InProcessConn makes Server usable with [nats.InProcessServer], restarts
// included.
func (s *Server) InProcessConn() (net.Conn, error) {
	run := s.current()
	if run == nil {
		return nil, errServerDown
	}
	return run.InProcessConn()
}

// Connect opens a connection without a socket; it is closed when the test ends.
// It reconnects for ever, every 20 ms, unless the options say otherwise.
func (s *Server) Connect(tb testing.TB, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	return s.ConnectBy(tb, s, opts...)
}

// ConnectBy is [Server.Connect] by way of p, which gets its connections from the
// server's InProcessConn and may break them.
func (s *Server) ConnectBy(tb testing.TB, p nats.InProcessConnProvider, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	nc, err := embedded.ConnectInProcess(p, clientOptions(s.set.client, opts)...)
	return s.set.clients.connected(tb, nc, err)
}

// JetStream opens a connection of its own and returns JetStream on it.
func (s *Server) JetStream(tb testing.TB, opts ...nats.Option) jetstream.JetStream {
	tb.Helper()
	return newJetStream(tb, s.Connect(tb, opts...))
}
