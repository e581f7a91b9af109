package demo

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestLaunchOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	_, err := launch([]string{"/does/not/exist"}, BillingConfig{Instance: "billing-1"}, func(record) {}, nil)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "billing-1") {
		t.Errorf("launch: %v, want that billing-1's program does not exist", err)
	}
}

// An instance that ends by itself is named, with the end of what it wrote.
func TestProcessThatFails(t *testing.T) {
	t.Parallel()
	p, err := launch([]string{"/bin/sh", "-c", "echo broken half a line; echo no port >&2; exit 3"}, BillingConfig{Instance: "billing-1"}, func(r record) {
		t.Errorf("record %+v of a line that is none", r)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = p.awaitReady(t.Context())
	if err == nil || !strings.Contains(err.Error(), "billing-1 ended by itself: exit status 3: no port") {
		t.Errorf("awaitReady: %v", err)
	}
	if err := p.stop(); err == nil {
		t.Error("stop of a process that failed: no error")
	}
}

// A SIGKILL loses nothing that was recorded before it.
func TestProcessKilled(t *testing.T) {
	t.Parallel()
	records := make(chan record, 10)
	script := `echo '{"what":"ready"}'; echo '{"what":"handled","group":"billing","id":"a"}'; echo '{"what":"beg'; exec sleep 60`
	p, err := launch([]string{"/bin/sh", "-c", script}, BillingConfig{Instance: "billing-1"}, func(r record) { records <- r }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.awaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := <-records
	if err := p.kill(); err != nil {
		t.Fatal(err)
	}
	if r.ID != "a" || r.What != runHandled || len(records) != 0 {
		t.Errorf("recorded %+v and %d more, want the one", r, len(records))
	}
	if !p.wanted() {
		t.Error("a kill is an end that nobody wanted")
	}
}

func TestBellWakes(t *testing.T) {
	t.Parallel()
	l := NewLedger()
	done := make(chan error, 1)
	go func() {
		done <- l.bell.await(t.Context(), func() bool { return l.of(billing, identity{"/s", "a"}).handled == 2 })
	}()
	for range 2 {
		l.add(record{What: runBegan, Group: billing, Instance: "b-1", Source: "/s", ID: "a"})
		l.add(record{What: runHandled, Group: billing, Instance: "b-1", Source: "/s", ID: "a"})
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errStuck)
	if err := l.bell.await(ctx, func() bool { return false }); !errors.Is(err, errStuck) {
		t.Errorf("await with an ended context: %v", err)
	}
}

func TestLedgerKnowsWhatRuns(t *testing.T) {
	t.Parallel()
	l := NewLedger()
	l.add(record{What: runBegan, Group: billing, Instance: "b-1", Source: "/s", ID: "a"})
	l.add(record{What: runBegan, Group: billing, Instance: "b-1", Source: "/s", ID: "b"})
	l.add(record{What: runPanicked, Group: billing, Instance: "b-1", Source: "/s", ID: "a"})
	l.add(record{What: runBegan, Group: billing, Instance: "b-2", Source: "/s", ID: "c"})
	if got := l.runningOn("b-1"); len(got) != 1 || got[0].id != "b" {
		t.Errorf("b-1 works on %v, want b", got)
	}
	if l.panicCount() != 1 {
		t.Errorf("panics: %d, want 1", l.panicCount())
	}
}
