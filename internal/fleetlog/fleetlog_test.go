package fleetlog_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/fleetlog"
	"github.com/agner-go/agner/internal/testserver"
)

// run runs a writer; the function it returns ends it and waits.
func run(t *testing.T, w *fleetlog.Writer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func read(t *testing.T, js jetstream.JetStream, q fleetlog.Query) []fleetlog.Record {
	t.Helper()
	var all []fleetlog.Record
	for r, err := range fleetlog.Read(t.Context(), js, q) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// TestWriteRead stores records of every field, in order, and reads them whole,
// by kind, by service, by time and as they come.
func TestWriteRead(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t)
	js := s.JetStream(t)
	w := fleetlog.NewWriter(js, fleetlog.Config{Namespace: "staging", Service: "billing", Instance: "b-1"})
	if n := len(slices.Collect(keys(fleetlog.Read(t.Context(), js, fleetlog.Query{Namespace: "staging"})))); n != 1 {
		t.Errorf("a log that nobody wrote: %d results", n)
	}
	began := time.Now()
	full := fleetlog.Record{
		Kind: fleetlog.KindDown, ID: "down-1", Time: time.Date(2026, 1, 2, 3, 12, 0, 123, time.UTC), Service: "shop", Instance: "s-1",
		Object: "a/b", Reason: "expired", Text: "it is gone\nreally", By: "billing/b-1", Detail: map[string]string{"version": "1.2.3"},
	}
	w.Write(fleetlog.Record{Kind: fleetlog.KindUp, Object: "ready"}) // before Run
	stop := run(t, w)
	w.Write(full)
	w.Write(full) // the same id: stored once
	w.Write(fleetlog.Record{Kind: "no kind.>"})
	w.Write(fleetlog.Record{Kind: fleetlog.KindRestarted, Text: strings.Repeat("é", 5000)})
	stop()

	got := read(t, js, fleetlog.Query{Namespace: "staging"})
	if len(got) != 3 || w.Lost() != 1 {
		t.Fatalf("%d records, %d lost: %+v", len(got), w.Lost(), got)
	}
	up, down, long := got[0], got[1], got[2]
	if up.Kind != fleetlog.KindUp || up.Service != "billing" || up.Instance != "b-1" || up.Time.Before(began.Add(-time.Second)) || up.ID == "" {
		t.Errorf("%+v", up)
	}
	if down.Detail["version"] != "1.2.3" {
		t.Errorf("detail %v", down.Detail)
	}
	down.Detail, full.Detail = nil, nil
	if !equal(down, full) {
		t.Errorf("%+v, want %+v", down, full)
	}
	if len(long.Text) > 4200 || !strings.HasSuffix(long.Text, "é…") {
		t.Errorf("text of %d bytes", len(long.Text))
	}
	for _, c := range []struct {
		q    fleetlog.Query
		want int
	}{
		{fleetlog.Query{Kind: fleetlog.KindDown}, 1},
		{fleetlog.Query{Service: "billing"}, 2},
		{fleetlog.Query{Service: "shop", Instance: "s-1"}, 1},
		{fleetlog.Query{Instance: "none"}, 0},
		{fleetlog.Query{Since: time.Now().Add(time.Hour)}, 0},
		{fleetlog.Query{Since: began.Add(-time.Hour)}, 3},
	} {
		c.q.Namespace = "staging"
		if got := read(t, js, c.q); len(got) != c.want {
			t.Errorf("%+v: %d records, want %d", c.q, len(got), c.want)
		}
	}
}

func keys(seq func(func(fleetlog.Record, error) bool)) func(func(error) bool) {
	return func(yield func(error) bool) {
		for _, err := range seq {
			if !yield(err) {
				return
			}
		}
	}
}

func equal(a, b fleetlog.Record) bool {
	return a.Kind == b.Kind && a.ID == b.ID && a.Time.Equal(b.Time) && a.Service == b.Service && a.Instance == b.Instance &&
		a.Object == b.Object && a.Reason == b.Reason && a.Text == b.Text && a.By == b.By
}

// TestFollow reads on while records come, past one that is none.
func TestFollow(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	w := fleetlog.NewWriter(js, fleetlog.Config{Service: "billing", Instance: "b-1"})
	run(t, w)
	w.Write(fleetlog.Record{Kind: fleetlog.KindUp})
	testserver.Eventually(t, 10*time.Second, func() error {
		_, err := js.Stream(t.Context(), "AGNER_FLEET")
		return err
	}, "stream")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen []string
	for r, err := range fleetlog.Read(ctx, js, fleetlog.Query{Follow: true}) {
		var bad *fleetlog.MalformedError
		switch {
		case errors.As(err, &bad):
			seen = append(seen, "malformed")
			w.Write(fleetlog.Record{Kind: fleetlog.KindPaused})
		case err != nil:
			t.Fatal(err)
		case r.Kind == fleetlog.KindUp:
			seen = append(seen, "up")
			if _, err := js.Publish(ctx, "fleet.up.x.y", []byte("{}")); err != nil {
				t.Fatal(err)
			}
		case r.Kind == fleetlog.KindPaused:
			seen = append(seen, "paused")
			cancel()
		}
	}
	if want := []string{"up", "malformed", "paused"}; !slices.Equal(seen, want) {
		t.Errorf("%v, want %v", seen, want)
	}
}

// TestOutage writes more than the buffer holds while there is no server: no call
// waits, what was kept is stored afterwards in order, the rest is counted and
// told.
func TestOutage(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Listen(), testserver.StoreDir(t.TempDir()))
	js := s.JetStream(t)
	var out syncBuffer
	w := fleetlog.NewWriter(js, fleetlog.Config{Service: "a", Instance: "b", Logger: slog.New(slog.NewTextHandler(&out, nil))})
	stop := run(t, w)
	s.Shutdown()
	const n = 3000
	began := time.Now()
	for i := range n {
		w.Write(fleetlog.Record{Kind: fleetlog.KindRestarted, Object: strconv.Itoa(i)})
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("%d writes without a server took %s", n, took)
	}
	s.Restart(t)
	testserver.Eventually(t, 20*time.Second, func() bool {
		count := 0
		for _, err := range fleetlog.Read(t.Context(), js, fleetlog.Query{}) {
			if err == nil {
				count++
			}
		}
		return uint64(count)+w.Lost() >= n
	}, "records stored")
	stop()
	got := read(t, s.JetStream(t), fleetlog.Query{})
	if w.Lost() == 0 || uint64(len(got))+w.Lost() != n {
		t.Errorf("%d stored, %d lost of %d", len(got), w.Lost(), n)
	}
	for i, r := range got {
		if r.Object != strconv.Itoa(i) {
			t.Fatalf("record %d is %s", i, r.Object)
		}
	}
	if !strings.Contains(out.String(), "were lost") {
		t.Errorf("the log says %s", out.String())
	}
}

// TestNoWriter writes nowhere, as a part does that was given no log.
func TestNoWriter(t *testing.T) {
	t.Parallel()
	var w *fleetlog.Writer
	w.Write(fleetlog.Record{Kind: fleetlog.KindUp})
	if w.Lost() != 0 {
		t.Error("lost something")
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
