package natstest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Instance is one instance of a program under test, on a connection of its own.
// Its methods are safe for concurrent use.
type Instance struct {
	env    *Env
	link   *link
	nc     *nats.Conn
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of run, once done is closed
	killed sync.Once
}

// Start runs an instance of the program under test: run gets a connection of its
// own, and a context that ends with [Instance.Stop], [Instance.Kill] or the test.
// What run returns is said by Stop; a run that ends by itself fails the test.
//
//	billing := env.Start(func(ctx context.Context, nc *nats.Conn) error {
//		svc, err := service.New(nc, service.Config{Name: "billing"}, service.On(charge))
//		if err != nil {
//			return err
//		}
//		return svc.Run(ctx)
//	})
func (e *Env) Start(run func(ctx context.Context, nc *nats.Conn) error) *Instance {
	e.tb.Helper()
	i := &Instance{env: e, link: &link{server: e.server}, done: make(chan struct{})}
	i.nc = e.server.ConnectBy(e.tb, i.link, nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsLost))
	ctx, cancel := context.WithCancel(context.WithoutCancel(e.tb.Context()))
	i.cancel = cancel
	go func() {
		defer close(i.done)
		i.err = run(ctx, i.nc)
		if ctx.Err() == nil {
			e.tb.Errorf("natstest: an instance ended by itself: %v", i.err)
		}
	}()
	e.tb.Cleanup(func() { i.end(e.tb.Logf) })
	return i
}

// A black hole is noticed as fast as with service.Connect.
const (
	pingEvery = 2 * time.Second
	pingsLost = 2
)

// Conn is the instance's connection.
func (i *Instance) Conn() *nats.Conn { return i.nc }

// Stop ends the instance's context, as SIGTERM does in a program that heeds it,
// and returns what run returned.
func (i *Instance) Stop() error {
	i.env.tb.Helper()
	i.end(i.env.tb.Fatalf)
	return i.err
}

// end waits for run, and reports one that does not return.
func (i *Instance) end(report func(string, ...any)) {
	i.cancel()
	patience := time.NewTimer(i.env.set.patience + stopPatience)
	defer patience.Stop()
	select {
	case <-i.done:
	case <-patience.C:
		report("natstest: an instance has not returned although its context has ended")
	}
}

// stopPatience is added to a stop: a drain may take 25 s by default.
const stopPatience = 30 * time.Second

// Kill takes the instance away without a word, as SIGKILL does: the broker hears
// nothing more of it, no acknowledgement and no goodbye. Its context ends too, so
// that its goroutines do; Kill returns once run has. What a handler does
// elsewhere cannot be taken back: for that, kill a process.
func (i *Instance) Kill() {
	i.env.tb.Helper()
	i.killed.Do(func() {
		i.link.stall(true) // what is in buffers must not get out
		i.link.cut(true)
		i.nc.Close()
	})
	i.end(i.env.tb.Fatalf)
}

// Cut closes the instance's connection under it. It reconnects by itself.
func (i *Instance) Cut() {
	i.env.tb.Helper()
	before := i.nc.Stats().Reconnects
	i.link.cut(false)
	i.env.eventually(func() error {
		if i.nc.IsConnected() && i.nc.Stats().Reconnects == before {
			return errors.New("the client has not noticed the cut")
		}
		return nil
	}, "cut")
}

// Stall makes the instance's connection a black hole, or ends that: it stays
// open and nothing passes, as when a process is paused or a network loses all
// packets. The instance's pings give it up after some seconds; a new one can be
// made only after the stall.
func (i *Instance) Stall(on bool) { i.link.stall(on) }
