package supervise

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A hook that hangs holds up Run, but no restart and no shutdown, and its
// queue is bounded.
func TestHookThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var seen, runs atomic.Int64
		sup, err := New(Config{
			MaxRestarts: 1 << 30, Backoff: Backoff{Min: time.Second, Max: time.Second},
			Logger: slog.New(slog.DiscardHandler), OnEvent: func(Event) { seen.Add(1); <-release },
		}, Child{Name: "a", Runner: RunnerFunc(func(context.Context) error { runs.Add(1); return errors.New("boom") })})
		if err != nil {
			t.Fatal(err)
		}
		sup.events.limit = 100
		ctx, cancel := context.WithTimeout(t.Context(), 1000*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- sup.Run(ctx) }()
		<-time.After(999 * time.Second)
		synctest.Wait()
		if st := sup.Status(); runs.Load() < 999 || st.Supervisor.EventsDropped == 0 || seen.Load() != 1 {
			t.Errorf("%d runs, %d events dropped, %d seen", runs.Load(), st.Supervisor.EventsDropped, seen.Load())
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if st := sup.Status(); st.State != StateStopped {
			t.Errorf("the hook held up the shutdown: %s", st.State)
		}
		if len(done) > 0 {
			t.Error("Run has returned before the last event was delivered")
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := seen.Load(); n < 100 || n > 200 {
			t.Errorf("%d events delivered", n)
		}
	})
}

func FuzzParseProfile(f *testing.F) {
	f.Add("goroutine profile: total 3\n2 @ 0x1 0x2\n# labels: {\"supervise\":\"shop/a\", \"supervise-run\":\"1\"}\n#\t0x1\tmain.f+0x1\t/src/main.go:1\n\n1 @ 0x3\n#\t0x3\tmain.g+0x1\t/src/main.go:2\n")
	f.Add("1 @ 0x1\n# labels: {\"a\":\"\\\"supervise\\\":\\\"x\\\"\", \"supervise\":\"y\", \"supervise-run\":\"2\"}\n#\t0x1\tf\tg\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, st := range parseProfile(text) {
			if !strings.HasSuffix(st.text, "\n") {
				t.Errorf("%q", st.text)
			}
		}
	})
}

func TestParseProfile(t *testing.T) {
	t.Parallel()
	text := "goroutine profile: total 9\n" +
		"2 @ 0x1\n# labels: {\"supervise\":\"shop/a\", \"supervise-run\":\"1\"}\n#\t0x1\tmain.f+0x1\t\t/src/main.go:1\n\n" +
		"1 @ 0x1\n# labels: {\"supervise\":\"shop/a\", \"supervise-run\":\"2\"}\n#\t0x1\tmain.second+0x1\t/src/main.go:2\n\n" +
		"3 @ 0x1\n# labels: {\"supervise\":\"shop/a/b\", \"supervise-run\":\"7\"}\n#\t0x1\tmain.below+0x1\t/src/main.go:3\n\n" +
		"1 @ 0x1\n# labels: {\"supervise\":\"shop/ab\", \"supervise-run\":\"1\"}\n#\t0x1\tmain.other+0x1\t/src/main.go:4\n\n" +
		"1 @ 0x1\n# labels: {\"mine\":\"\\\"supervise\\\":\\\"shop/a\\\"\"}\n#\t0x1\tmain.fake+0x1\t/src/main.go:5\n\n" +
		"1 @ 0x1\n#\t0x1\tmain.plain+0x1\t/src/main.go:6\n"
	n, stacks := parseProfile(text).of("shop/a", 1)
	want := "2 goroutines of shop/a:\n    main.f+0x1 /src/main.go:1\n3 goroutines of shop/a/b:\n    main.below+0x1 /src/main.go:3\n"
	if n != 5 || stacks != want {
		t.Errorf("%d goroutines\n%s", n, stacks)
	}
}

func TestReportIsBounded(t *testing.T) {
	t.Parallel()
	var p profile
	for range 1000 {
		p = append(p, stack{path: "a", run: "1", count: 1, text: strings.Repeat("x", 999) + "\n"})
	}
	n, stacks := p.of("a", 1)
	if n != 1000 || len(stacks) > maxStacks+10 || !strings.HasSuffix(stacks, "…\n") {
		t.Errorf("%d goroutines, %d bytes", n, len(stacks))
	}
}
