package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Errors that a caller can act on. Both are wrapped with the operation and the
// address or directory.
var (
	// ErrPortBusy says that another program listens on the wanted port. Choose
	// another port, or 0 for a free one.
	ErrPortBusy = errors.New("port is in use")
	// ErrStoreBusy says that another server uses the store directory.
	ErrStoreBusy = errors.New("store directory is in use by another server")
)

// inProcessURL only satisfies the URL parser of nats.go: an in-process
// connection never dials. It is an IP literal because nats.go resolves a host
// name even then, and that would reach the DNS.
const inProcessURL = "nats://127.0.0.1:4222"

// readyTimeout bounds the wait for listeners. They open within milliseconds;
// the rest is room for a machine under load.
const readyTimeout = 30 * time.Second

// Config says how to run the server. The zero value is a server on a free port
// of 127.0.0.1 with a temporary store.
type Config struct {
	// Host is the address to listen on. Default "127.0.0.1", which only this
	// machine reaches: the server asks nobody for a password by default.
	Host string

	// Logger receives the server's log. Default: it is discarded.
	Logger *slog.Logger

	// Name is the server's name, seen in monitoring. Default: the server's id.
	Name string

	// NoListen opens no socket at all: only [Server.ConnectInProcess] reaches
	// the server. Host and Port are then ignored.
	NoListen bool

	// Options, if set, has the last word on the upstream options: accounts,
	// users, cluster, limits. What it sets overrides every other field.
	Options func(*server.Options) error

	// Port is the port for clients. Default 0, a free one chosen by the system.
	Port int

	// StoreDir is where streams live; it is made when missing and kept at
	// shutdown. Default: a temporary directory that Shutdown removes.
	StoreDir string

	// SyncAlways makes the server write to the disk before it acknowledges, so
	// that what is acknowledged survives a power loss. It costs about nine
	// tenths of the publish rate.
	SyncAlways bool

	// SyncInterval is how often the server writes to the disk without
	// SyncAlways. Default: the server's own, two minutes.
	SyncInterval time.Duration
}

// Server is a running nats-server. It is safe for concurrent use, and it is a
// [nats.InProcessConnProvider].
type Server struct {
	srv       *server.Server
	storeDir  string
	temporary bool
	lock      *storeLock
	noListen  bool

	stop    sync.Once
	stopped chan struct{}
	stopErr error // written before stopped is closed
}

var _ nats.InProcessConnProvider = (*Server)(nil)

// Start runs a server and returns when it accepts connections. The caller ends
// it by [Server.Shutdown]. It returns [ErrPortBusy] or [ErrStoreBusy], wrapped,
// when another program holds the port or the store.
func Start(cfg Config) (*Server, error) {
	s := &Server{stopped: make(chan struct{})}
	if err := s.start(cfg); err != nil {
		return nil, fmt.Errorf("start embedded server: %w", err)
	}
	return s, nil
}

func (s *Server) start(cfg Config) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeStore())
		}
	}()
	if err := s.openStore(cfg.StoreDir); err != nil {
		return err
	}

	opts, err := cfg.options(s.storeDir)
	if err != nil {
		return err
	}
	if err := probePort(opts); err != nil {
		return err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("options: %w", err)
	}
	log := newServerLog(cfg.Logger)
	srv.SetLoggerV2(log, opts.Debug, opts.Trace, false)

	// Start returns when the listeners are open or it has given up; only what
	// a cluster adds opens a moment later.
	srv.Start()
	if err := log.fatal(); err != nil {
		abandon(srv)
		return portError(opts, err)
	}
	if !srv.ReadyForConnections(readyTimeout) {
		abandon(srv)
		return errors.Join(fmt.Errorf("not ready for connections within %s", readyTimeout), log.fatal())
	}
	s.srv, s.noListen = srv, opts.DontListen
	return nil
}

func abandon(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

// options turns the configuration into the server's.
func (c Config) options(storeDir string) (*server.Options, error) {
	opts := &server.Options{
		ServerName:             c.Name,
		Host:                   c.Host,
		Port:                   c.Port,
		DontListen:             c.NoListen,
		JetStream:              true,
		StoreDir:               storeDir,
		SyncAlways:             c.SyncAlways,
		SyncInterval:           c.SyncInterval,
		NoSigs:                 true, // signals belong to the program, not to a library in it
		DisableJetStreamBanner: true,
	}
	if opts.Host == "" {
		opts.Host = "127.0.0.1"
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	if c.Options != nil {
		if err := c.Options(opts); err != nil {
			return nil, fmt.Errorf("options: %w", err)
		}
	}
	if opts.Port < server.RANDOM_PORT || opts.Port > 65535 {
		return nil, fmt.Errorf("options: port %d is not between 0 and 65535", opts.Port)
	}
	return opts, nil
}

// probePort finds a busy port before the server starts: the server itself only
// writes such an error to its log.
func probePort(opts *server.Options) error {
	if opts.DontListen || opts.Port == server.RANDOM_PORT {
		return nil
	}
	l, err := net.Listen("tcp", hostPort(opts))
	if err != nil {
		return fmt.Errorf("listen on %s: %w", hostPort(opts), classify(err))
	}
	return l.Close()
}

// portError explains why a server gave up while starting. Somebody may have
// taken the port since it was probed.
func portError(opts *server.Options, cause error) error {
	if err := probePort(opts); err != nil {
		return errors.Join(err, cause)
	}
	return cause
}

func classify(err error) error {
	const wsaeAddrInUse = syscall.Errno(10048) // Windows' own number for EADDRINUSE
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, wsaeAddrInUse) {
		return fmt.Errorf("%w: %w", ErrPortBusy, err)
	}
	return err
}

func hostPort(opts *server.Options) string {
	return net.JoinHostPort(opts.Host, strconv.Itoa(opts.Port))
}

func (s *Server) openStore(dir string) error {
	if dir == "" {
		tmp, err := os.MkdirTemp("", "agner-nats-")
		if err != nil {
			return fmt.Errorf("make a temporary store: %w", err)
		}
		dir, s.temporary = tmp, true
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("store %s: %w", dir, err)
	}
	s.storeDir = abs
	if err := os.MkdirAll(abs, 0o750); err != nil {
		return fmt.Errorf("make the store: %w", err)
	}
	s.lock, err = lockStore(abs)
	if err != nil {
		return fmt.Errorf("lock the store %s: %w", abs, err)
	}
	return nil
}

func (s *Server) closeStore() error {
	err := s.lock.release()
	if s.temporary {
		err = errors.Join(err, os.RemoveAll(s.storeDir))
	}
	return err
}

// URL is the address for clients, such as nats://127.0.0.1:4222. It is empty
// with [Config.NoListen].
func (s *Server) URL() string {
	if s.noListen {
		return ""
	}
	return s.srv.ClientURL()
}

// StoreDir is the absolute path of the directory that holds the streams.
func (s *Server) StoreDir() string { return s.storeDir }

// NATS is the upstream server, for what this package does not wrap.
func (s *Server) NATS() *server.Server { return s.srv }

// InProcessConn makes Server usable with [nats.InProcessServer].
func (s *Server) InProcessConn() (net.Conn, error) { return s.srv.InProcessConn() }

// ConnectInProcess connects without a socket. The caller closes the connection.
func (s *Server) ConnectInProcess(opts ...nats.Option) (*nats.Conn, error) {
	return ConnectInProcess(s, opts...)
}

// ConnectInProcess connects to whatever gives in-process connections, without
// a socket. The options may override all but the way to connect.
func ConnectInProcess(p nats.InProcessConnProvider, opts ...nats.Option) (*nats.Conn, error) {
	all := append(append([]nats.Option(nil), opts...), nats.InProcessServer(p))
	nc, err := nats.Connect(inProcessURL, all...)
	if err != nil {
		return nil, fmt.Errorf("connect in process: %w", err)
	}
	return nc, nil
}

// Shutdown ends the server and waits until all of it has stopped, then removes
// a temporary store. If ctx ends first, Shutdown returns its error while the
// server goes on stopping; another call waits again. Calls after the end return
// the same result.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop.Do(func() {
		go func() {
			defer close(s.stopped)
			s.srv.Shutdown()
			s.srv.WaitForShutdown()
			s.stopErr = s.closeStore()
		}()
	})
	select {
	case <-s.stopped:
	case <-ctx.Done():
		return fmt.Errorf("shut down embedded server: %w", context.Cause(ctx))
	}
	if s.stopErr != nil {
		return fmt.Errorf("shut down embedded server: %w", s.stopErr)
	}
	return nil
}
