package testserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// readyTimeout bounds the start of a child process: tens of milliseconds, and
// seconds for a test binary with the race detector on a busy machine.
const readyTimeout = 60 * time.Second

// Child is a nats-server with JetStream in a process of its own, on a port and
// a store that stay the same over restarts. It is safe for concurrent use; two
// overlapping starts are refused by the lock on the store.
type Child struct {
	tb   testing.TB
	name string
	set  settings
	log  *logBuffer

	mu   sync.Mutex
	proc *process // nil while the server is down
}

// process is one run of a child.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	ready  chan struct{}
	exited chan struct{}
	err    error // written before exited is closed
}

// StartChild runs a server in a child process until the test ends. The child is
// this test binary again, so the package needs a TestMain that calls [Main].
// Should the tests die in whatever way, the child dies too.
func StartChild(tb testing.TB, opts ...Option) *Child {
	tb.Helper()
	set := newSettings(opts)
	set.Port = reservePort(tb)
	c := newChild(tb, set, "the child server")
	c.start(tb)
	return c
}

func newChild(tb testing.TB, set settings, name string) *Child {
	tb.Helper()
	if set.options != nil {
		tb.Fatalf("testserver: Options cannot travel to a child process: use Conf")
	}
	if set.StoreDir == "" {
		set.StoreDir = tb.TempDir()
	}
	c := &Child{tb: tb, name: name, set: set, log: newLogBuffer(tb, name)}
	tb.Cleanup(c.Kill)
	return c
}

func (c *Child) start(tb testing.TB) {
	tb.Helper()
	p, err := c.spawn()
	if err != nil {
		tb.Fatalf("testserver: start %s: %v", c.name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proc = p
}

// spawn starts a process and waits until the server in it accepts connections.
func (c *Child) spawn() (*process, error) {
	spec, err := json.Marshal(c.set)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	return spawn(c.log, childEnv+"="+string(spec))
}

// spawn starts this binary again, told by env what to be, and waits until it
// says that it is ready.
func spawn(log io.Writer, env ...string) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{ready: make(chan struct{}), exited: make(chan struct{})}
	// A package without [Main] would run its tests in the child, and with them
	// start a child, without end: have it run none.
	p.cmd = exec.Command(exe, "-test.run=^$") //nolint:gosec // it is this very program
	// A program built with -race waits a second before it ends, to report
	// late races: here of nats-server's, which nobody reads.
	p.cmd.Env = append(os.Environ(), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdout = &readyWriter{ready: p.ready}
	p.cmd.Stderr = log
	dieWithParent(p.cmd)
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.exited)
		p.err = p.cmd.Wait()
	}()
	return p, p.waitReady()
}

func (p *process) waitReady() error {
	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	select {
	case <-p.ready:
		return nil
	case <-p.exited:
		if p.err != nil {
			return fmt.Errorf("it ended before it was ready: %w", p.err)
		}
		return errors.New("it ran no server: does the package's TestMain call testserver.Main?")
	case <-timeout.C:
		return errors.Join(fmt.Errorf("not ready within %s", readyTimeout), p.kill())
	}
}

// kill ends the process whatever it does, and returns once it is gone.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	<-p.exited
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// readyWriter closes ready when it has seen the line that says so.
type readyWriter struct {
	seen  []byte
	ready chan struct{}
}

func (w *readyWriter) Write(b []byte) (int, error) {
	if len(w.seen) < len(childReady) {
		w.seen = append(w.seen, b...)
		if string(w.seen) == childReady {
			close(w.ready)
		}
	}
	return len(b), nil
}

func (c *Child) current() *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proc
}

// take returns the running process and counts it as down from here on.
func (c *Child) take() *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.proc
	c.proc = nil
	return p
}

func (c *Child) watch() (wait func()) {
	url := c.URL()
	return c.set.clients.watch(func(nc *nats.Conn) bool { return nc.ConnectedUrl() == url })
}

// Kill ends the server with SIGKILL, also when it is paused. It waits until the
// process is gone and the connections made by this package have noticed. What the server had not written to its files is lost; what
// it had handed to the operating system is not, as after a crash of the program
// but not of the machine. On a server that is down it does nothing.
func (c *Child) Kill() {
	c.tb.Helper()
	p := c.take()
	if p == nil {
		return
	}
	noticed := c.watch()
	if err := p.kill(); err != nil {
		c.tb.Errorf("testserver: kill %s: %v", c.name, err)
	}
	noticed()
}

// Stop ends the server with SIGTERM, by which nats-server shuts down in order,
// and waits as [Child.Kill] does. On a server that is down it does nothing.
func (c *Child) Stop() {
	c.tb.Helper()
	p := c.take()
	if p == nil {
		return
	}
	noticed := c.watch()
	defer noticed()
	if err := p.stop(); err != nil {
		c.tb.Errorf("testserver: stop %s: %v", c.name, err)
	}
}

// stop asks the process to end by SIGTERM, and kills it if it does not.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		// A system without signals: the end of its input means the same to it.
		_ = p.stdin.Close()
	}
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.exited:
		return p.err
	case <-timeout.C:
		return errors.Join(fmt.Errorf("still running after %s", stopTimeout), p.kill())
	}
}

// Restart starts the server again on the same store and port; one that still
// runs is ended by [Child.Stop] first.
func (c *Child) Restart(tb testing.TB) {
	tb.Helper()
	c.Stop()
	c.start(tb)
}

// Pause stops the process in its tracks with SIGSTOP: its connections stay
// open, and nothing comes back on them.
func (c *Child) Pause() {
	c.tb.Helper()
	c.signal("pause", pauseProcess)
}

// Resume lets a paused process run on.
func (c *Child) Resume() {
	c.tb.Helper()
	c.signal("resume", resumeProcess)
}

func (c *Child) signal(what string, send func(*os.Process) error) {
	c.tb.Helper()
	p := c.current()
	if p == nil {
		c.tb.Errorf("testserver: %s %s: it is down", what, c.name)
		return
	}
	if err := send(p.cmd.Process); err != nil {
		c.tb.Errorf("testserver: %s %s: %v", what, c.name, err)
	}
}

// Running says whether the process has been started and not been ended by this
// package; it does not see one that crashed.
func (c *Child) Running() bool { return c.current() != nil }

// URL is the address for clients, the same over restarts.
func (c *Child) URL() string { return portURL(c.set.Port) }

// StoreDir is the directory that holds the streams.
func (c *Child) StoreDir() string { return c.set.StoreDir }

// Connect opens a connection that is closed when the test ends. It reconnects
// for ever, every 20 ms, unless the options say otherwise.
func (c *Child) Connect(tb testing.TB, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	return c.set.clients.dial(tb, c.URL(), c.set.client, opts)
}

// JetStream opens a connection of its own and returns JetStream on it.
func (c *Child) JetStream(tb testing.TB, opts ...nats.Option) jetstream.JetStream {
	tb.Helper()
	return newJetStream(tb, c.Connect(tb, opts...))
}
