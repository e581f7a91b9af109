package supervise_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

// TestScale starts many children, sees what one costs, and that they stop in
// order. AGNER_SCALE is their number; with 10,000 they must start in about a
// second. It runs alone, because it measures the heap.
func TestScale(t *testing.T) { //nolint:paralleltest // see above
	n := setting(t, "AGNER_SCALE", 2000)
	const perChild, perSecond = 4 << 10, 10_000
	stopped := make([]int, 0, n)
	children := make([]supervise.Child, n)
	for i := range children {
		children[i] = child(fmt.Sprintf("child-%05d", i), func(ctx context.Context) error {
			<-ctx.Done()
			stopped = append(stopped, i) // one after the other: no lock needed
			return ctx.Err()
		})
	}
	before := heap()
	sup := mustNew(t, supervise.Config{Name: "scale"}, children...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	up, done := make(chan struct{}), make(chan error, 1)
	began := time.Now()
	go func() { done <- sup.RunReady(ctx, func() { close(up) }) }()
	<-up
	started := time.Since(began)
	began = time.Now()
	last := lastChild(sup)
	seen := time.Since(began)
	if last.Path != fmt.Sprintf("scale/child-%05d", n-1) || last.State != supervise.StateRunning {
		t.Errorf("the last child is %+v", last)
	}
	bytes := (heap() - before) / int64(n)
	began = time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	took := time.Since(began)
	t.Logf("%d children: started in %v, stopped in %v, %d bytes of heap each; Status took %v", n, started, took, bytes, seen)
	slices.Reverse(stopped)
	if len(stopped) != n || !slices.IsSorted(stopped) {
		t.Errorf("%d children stopped, or in another order", len(stopped))
	}
	if bytes > perChild {
		t.Errorf("%d bytes of heap for each child, want less than %d", bytes, perChild)
	}
	// Ten times "about": the machine may be busy, but it must not be quadratic.
	if limit := 10 * time.Second * time.Duration(max(n, 1000)) / perSecond; started > limit || took > limit {
		t.Errorf("start %v and stop %v, want less than %v", started, took, limit)
	}
}

func lastChild(sup *supervise.Supervisor) supervise.Status {
	children := sup.Status().Children
	return children[len(children)-1]
}

// heap is what is in use, without goroutine stacks.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkRestart(b *testing.B) {
	turns := make(chan struct{})
	sup, err := supervise.New(supervise.Config{}, child("a", idle))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	go func() { defer close(turns); _ = sup.RunReady(ctx, func() { turns <- struct{}{} }) }()
	<-turns
	for b.Loop() {
		if err := sup.Restart(ctx, "a"); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	<-turns
}
