//go:build unix

package service_test

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/fleetlog"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

// longFaults tells whether the long forms are asked for, as `make presence`
// does.
func longFaults() bool { return os.Getenv("AGNER_PRESENCE") != "" }

// patience is far beyond what a child process needs to start on a machine under
// load.
const patience = 60 * time.Second

// spawn runs an instance of "billing" in a process of its own.
func spawn(t *testing.T, url, id string) *instanceProcess {
	t.Helper()
	p, err := startInstance(t, instanceSpec{URL: url, Dir: t.TempDir(), Name: id})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// signal sends a signal; a process that has ended does not mind.
func (p *instanceProcess) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Logf("%s of %s: %v", sig, p.name, err)
	}
}

// noticeWithin is how soon a crash is known. The short form runs beside all other
// tests, where a server that gets no CPU expires late.
func noticeWithin() time.Duration {
	if longFaults() {
		return service.DefaultPresenceTTL + time.Second
	}
	return 5 * service.DefaultPresenceTTL
}

// TestKilled kills instances with SIGKILL, one after the other: each watcher and
// each monitor is told once, within the TTL and one second.
func TestKilled(t *testing.T) {
	t.Parallel()
	kills := 3
	if longFaults() {
		kills = 100
	}
	srv := testserver.Start(t, testserver.Listen())
	observers := make([]*watching, 3)
	clients := make([]*service.Client, 3)
	for i := range observers {
		clients[i] = newClient(t, srv.Connect(t), service.ClientConfig{})
		observers[i] = watchFleet(t, clients[i], "billing")
	}
	killed := make([]time.Time, kills)
	monitors := make([][]<-chan told, kills)
	for n := range kills {
		id := fmt.Sprintf("v-%d", n)
		p := spawn(t, srv.URL(), id)
		up, _ := observers[0].find(t, patience, service.Up, id, "")
		for _, cl := range clients {
			monitors[n] = append(monitors[n], monitor(t, cl, up.Instance))
		}
		p.signal(t, syscall.SIGKILL)
		<-p.exited
		killed[n] = time.Now()
	}
	var times []time.Duration
	check := func(id, who string, at, killed time.Time, c service.Change) {
		took := at.Sub(killed)
		times = append(times, took)
		if took > noticeWithin() || c.Reason != service.ReasonExpired {
			t.Errorf("%s: %s was told of %s after %s", id, who, c.Reason, took)
		}
	}
	for n := range kills {
		id := fmt.Sprintf("v-%d", n)
		for _, w := range observers {
			c, at := w.find(t, patience, service.Down, id, "")
			check(id, "a watcher", at, killed[n], c)
		}
		for _, m := range monitors[n] {
			got := <-m
			if got.err != nil {
				t.Fatal(got.err)
			}
			check(id, "a monitor", got.at, killed[n], got.Change)
		}
	}
	for _, w := range observers {
		downs := w.downs()
		if len(downs) != kills {
			t.Errorf("%d instances were told to be down, want %d", len(downs), kills)
		}
		for who, n := range downs {
			if n != 1 {
				t.Errorf("%s was told to be down %d times", who, n)
			}
		}
	}
	slices.Sort(times)
	t.Logf("%d kills, %d notices, told after %s (least) %s (median) %s (most)",
		kills, len(times), times[0], times[len(times)/2], times[len(times)-1])
}

// TestPausedProcess stops a process for longer than its TTL: it is declared
// down, and when it goes on it learns of it and registers anew.
func TestPausedProcess(t *testing.T) {
	t.Parallel()
	paused := 4200 * time.Millisecond
	if longFaults() {
		paused = 10 * time.Second
	}
	srv := testserver.Start(t, testserver.Listen())
	cl := newClient(t, srv.Connect(t), service.ClientConfig{})
	p := spawn(t, srv.URL(), "v-1")
	w := watchFleet(t, cl, "billing")
	up, _ := w.find(t, patience, service.Up, "v-1", "")
	m := monitor(t, cl, up.Instance)

	p.signal(t, syscall.SIGSTOP)
	stopped := time.Now()
	down, at := w.find(t, patience, service.Down, "v-1", "")
	if took := at.Sub(stopped); down.Reason != service.ReasonExpired || took > noticeWithin() {
		t.Errorf("%+v after %s", down, took)
	}
	if got := <-m; got.err != nil || got.Reason != service.ReasonExpired {
		t.Errorf("the monitor was told %+v", got)
	}
	testserver.Eventually(t, patience, func() bool { return time.Since(stopped) > paused }, "the pause is over")
	if all, err := service.Instances(t.Context(), cl, "billing"); err != nil || len(all) != 0 {
		t.Errorf("while it is stopped: %v, %v", all, err)
	}
	p.signal(t, syscall.SIGCONT)
	testserver.Eventually(t, patience, func() error {
		all, err := service.Instances(t.Context(), cl, "billing")
		if err != nil || len(all) != 1 || all[0].Incarnation == up.Instance.Incarnation {
			return fmt.Errorf("%+v, %w", all, err)
		}
		return nil
	}, "another incarnation")
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	testserver.Eventually(t, patience, func() bool { return len(w.downs()) == 2 }, "second down")
	for who, n := range w.downs() {
		if n != 1 {
			t.Errorf("%s was told to be down %d times", who, n)
		}
	}
	kinds := map[fleetlog.Kind]int{}
	for r, err := range fleetlog.Read(t.Context(), srv.JetStream(t), fleetlog.Query{Service: "billing"}) {
		if err != nil {
			t.Fatal(err)
		}
		kinds[r.Kind]++
	}
	if kinds[fleetlog.KindReturned] != 1 || kinds[fleetlog.KindDown] != 2 || kinds[fleetlog.KindUp] != 2 {
		t.Errorf("fleet log: %v", kinds)
	}
}

// TestLeaderKilled kills the server that leads the bucket, time after time:
// nobody is declared down, and who is killed afterwards still is.
func TestLeaderKilled(t *testing.T) {
	if !longFaults() {
		t.Log("the short form is TestOutage of internal/presence; this one runs with AGNER_PRESENCE=long")
		return
	}
	c := testserver.StartChildCluster(t, 3)
	const instances = 5
	for i := range instances {
		start(t, c.Connect(t), service.Config{Name: "billing", Instance: fmt.Sprintf("b-%d", i), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	}
	cl := newClient(t, c.Connect(t), service.ClientConfig{})
	testserver.Eventually(t, patience, func() error {
		all, err := service.Instances(t.Context(), cl, "billing")
		if err == nil && len(all) != instances {
			err = fmt.Errorf("%d instances", len(all))
		}
		return err
	}, "all instances registered")
	w := watchFleet(t, cl, "billing")
	for i := range instances { // a watch that cannot begin is an error
		w.find(t, patience, service.Up, fmt.Sprintf("b-%d", i), "")
	}
	for range 3 {
		leader := c.Leader("KV_AGNER_INSTANCES")
		c.Children[leader].Kill()
		gone := time.Now()
		c.Leader("KV_AGNER_INSTANCES") // another one
		took := time.Since(gone)
		settled := time.Now()
		testserver.Eventually(t, patience, func() bool { return time.Since(settled) > 12*time.Second }, "whoever were told down is told by now")
		t.Logf("another leader after %s", took)
		c.Children[leader].Restart(t)
		c.WaitCurrent("KV_AGNER_INSTANCES")
		if downs := w.downs(); len(downs) != 0 {
			w.each(func(c service.Change, at time.Time) { t.Logf("%s %s: %+v", at.Format(time.StampMilli), c.Kind, c) })
			t.Fatalf("declared down: %v; the server was killed at %s", downs, gone.Format(time.StampMilli))
		}
	}
	all, err := service.Instances(t.Context(), cl, "billing")
	if err != nil || len(all) != instances {
		t.Errorf("%d instances, %v", len(all), err)
	}
	p := spawn(t, c.URL(), "v-1")
	w.find(t, patience, service.Up, "v-1", "")
	p.signal(t, syscall.SIGKILL)
	w.find(t, patience, service.Down, "v-1", "")
}
