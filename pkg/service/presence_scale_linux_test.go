package service_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

// TestPresenceScale runs many instances with a connection of their own each,
// all in one process, against a server in another, and measures what they cost
// while nothing happens: at first without presence, which is what connections
// and idle services cost, then with it. The difference is what presence costs.
// AGNER_PRESENCE_SCALE is how many. With AGNER_NATSCTL, a natsctl to run, it is
// timed as well.
func TestPresenceScale(t *testing.T) {
	many, seconds := 20, time.Second
	if n, err := strconv.Atoi(os.Getenv("AGNER_PRESENCE_SCALE")); err == nil {
		many, seconds = n, 15*time.Second
	}
	srv := testserver.StartChild(t)
	stop := startMany(t, srv.URL(), many, service.PresenceConfig{Off: true})
	rest := costs(t, seconds)
	stop()
	stop = startMany(t, srv.URL(), many, service.PresenceConfig{})
	defer stop()
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	testserver.Eventually(t, patience, func() error {
		all, err := service.Instances(t.Context(), cl, "billing")
		ready := 0
		for _, i := range all {
			if i.State == service.StateReady {
				ready++
			}
		}
		if err == nil && ready != many {
			err = fmt.Errorf("%d of %d are ready", ready, many)
		}
		return err
	}, "all are registered")

	began := time.Now()
	all, err := service.Instances(t.Context(), cl, "")
	if err != nil || len(all) != many {
		t.Errorf("%d instances, %v", len(all), err)
	}
	t.Logf("service.Instances of %d took %s", many, time.Since(began))
	timeNatsctl(t, srv.URL(), many)

	with := costs(t, seconds)
	presence := with.total() - rest.total()
	t.Logf("%d instances, in %% of a core: without presence %s, with presence %s: presence %.1f", many, rest, with, presence)
	if many >= 1000 && presence > 20 {
		t.Errorf("presence costs %.1f %% of a core", presence)
	}
}

// startMany runs instances until stop is called, and waits until they run.
func startMany(t *testing.T, url string, many int, presence service.PresenceConfig) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	stop = func() {
		cancel()
		running.Wait()
	}
	var ready atomic.Int64
	for i := range many {
		nc, err := service.Connect(ctx, url, nats.Name(fmt.Sprintf("i-%d", i)))
		if err != nil {
			stop()
			t.Fatal(err)
		}
		svc, err := service.New(nc, service.Config{
			Name: "billing", Instance: fmt.Sprintf("i-%d", i), Logger: quiet(), Presence: presence,
		}, service.Handle("quote", price))
		if err != nil {
			stop()
			t.Fatal(err)
		}
		running.Go(func() {
			defer nc.Close()
			if err := svc.RunReady(ctx, func() { ready.Add(1) }); err != nil {
				t.Error(err)
			}
		})
	}
	testserver.Eventually(t, patience, func() bool { return ready.Load() == int64(many) }, "all run")
	return stop
}

// cost is in per cent of a core.
type cost struct{ clients, server float64 }

func (c cost) total() float64 { return c.clients + c.server }

func (c cost) String() string {
	return fmt.Sprintf("%.1f (clients %.1f, server %.1f)", c.total(), c.clients, c.server)
}

// costs measures for so long, after a moment of quiet.
func costs(t *testing.T, seconds time.Duration) cost {
	t.Helper()
	settled := time.Now()
	testserver.Eventually(t, patience, func() bool { return time.Since(settled) > seconds/4 }, "a moment of quiet")
	clients, server, from := ownCPU(t), childCPU(t), time.Now()
	testserver.Eventually(t, 2*patience, func() bool { return time.Since(from) > seconds }, "the measurement")
	took := time.Since(from)
	return cost{share(ownCPU(t)-clients, took), share(childCPU(t)-server, took)}
}

func share(cpu, wall time.Duration) float64 { return 100 * cpu.Seconds() / wall.Seconds() }

// timeNatsctl runs the program that AGNER_NATSCTL names, if any.
func timeNatsctl(t *testing.T, url string, many int) {
	t.Helper()
	exe := os.Getenv("AGNER_NATSCTL")
	if exe == "" {
		return
	}
	for range 3 {
		began := time.Now()
		out, err := exec.Command(exe, "services", "-s", url, "-o", "jsonl").Output()
		took := time.Since(began)
		if lines := strings.Count(string(out), "\n"); err != nil || lines != many || strings.Contains(string(out), `"answers":false`) {
			t.Errorf("natsctl services: %d lines, %v", lines, err)
		}
		t.Logf("natsctl services took %s", took)
		if took > time.Second {
			t.Errorf("natsctl services took %s", took)
		}
	}
}

// ownCPU is what this process has used.
func ownCPU(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// childCPU is what the children that live have used, of which the server is one:
// getrusage tells it only of those that have ended.
func childCPU(t *testing.T) time.Duration {
	t.Helper()
	const ticks = 100 // a second, on every Linux
	var total time.Duration
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		f, err := os.Open(path)
		if err != nil {
			continue // it has ended
		}
		text, _ := io.ReadAll(f) // as above
		_ = f.Close()
		_, rest, ok := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 13 || fields[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		for _, n := range fields[11:13] {
			if v, err := strconv.Atoi(n); err == nil {
				total += time.Duration(v) * time.Second / ticks
			}
		}
	}
	return total
}
