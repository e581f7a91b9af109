package stream_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/testserver"
)

func TestDurabilityText(t *testing.T) {
	t.Parallel()
	for _, d := range []stream.Durability{stream.ProcessSafe, stream.PowerSafe, stream.Memory} {
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back stream.Durability
		if err := json.Unmarshal(text, &back); err != nil || back != d || string(text) != `"`+d.String()+`"` {
			t.Errorf("%v is %s, which is %v: %v", d, text, back, err)
		}
	}
	var d stream.Durability
	if err := json.Unmarshal([]byte(`"Diamond"`), &d); !errors.Is(err, stream.ErrDurability) || !strings.Contains(err.Error(), "PowerSafe") {
		t.Errorf("Diamond: %v", err)
	}
	if _, err := json.Marshal(stream.Durability(7)); !errors.Is(err, stream.ErrDurability) {
		t.Errorf("7: %v", err)
	}
	for _, c := range []struct {
		d        stream.Durability
		replicas int
		ok       bool
	}{
		{stream.ProcessSafe, 1, true},
		{stream.PowerSafe, 0, true},
		{stream.PowerSafe, 3, true},
		{stream.PowerSafe, 5, true},
		{stream.PowerSafe, 1, false},
		{stream.PowerSafe, 2, false},
		{stream.Memory, 3, true},
		{-1, 0, false},
		{3, 0, false},
	} {
		if err := c.d.Check(c.replicas); (err == nil) != c.ok || err != nil && !errors.Is(err, stream.ErrDurability) {
			t.Errorf("%v with %d replicas: %v", c.d, c.replicas, err)
		}
	}
}

func TestDurabilityCovers(t *testing.T) {
	t.Parallel()
	order := []stream.Durability{stream.Memory, stream.ProcessSafe, stream.PowerSafe}
	for i, d := range order {
		for j, other := range order {
			if d.Covers(other) != (i >= j) {
				t.Errorf("%v.Covers(%v) is %v", d, other, d.Covers(other))
			}
		}
	}
}

// TestMemory makes everything in memory; schedules flow there too.
func TestMemory(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	var log bytes.Buffer
	p := &stream.Provisioner{JS: js, Durability: stream.Memory, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	for range 2 {
		if err := p.Ensure(t.Context(), shapes("")...); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Bucket(t.Context(), stream.Positions("")); err != nil {
			t.Fatal(err)
		}
	}
	if log.Len() > 0 {
		t.Errorf("the log says %s", &log)
	}
	n := 0
	for info := range js.ListStreams(t.Context()).Info() {
		n++
		if c := info.Config; c.Storage != jetstream.MemoryStorage || c.Metadata[stream.MetaDurability] != "Memory" {
			t.Errorf("%s: %v, %v", c.Name, c.Storage, c.Metadata)
		}
	}
	if n != 5 {
		t.Errorf("%d streams, want 5", n)
	}
	expectScheduled(t, js)
}

// TestPowerSafeOnOneServer starts where the promise cannot be kept: it says so,
// of each stream and of the bucket, made or found, and goes on.
func TestPowerSafeOnOneServer(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	for _, how := range []string{"made", "found"} {
		var log bytes.Buffer
		p := &stream.Provisioner{JS: js, Durability: stream.PowerSafe, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		if err := p.Ensure(t.Context(), shapes("")...); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Bucket(t.Context(), stream.Positions("")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"EVENTS", "DEAD", "SCHEDULED", "RETRY_billing", "KV_AGNER_POSITIONS"} {
			want := `msg="stream does not give the durability that is declared" stream=` + name +
				` durability=PowerSafe field=replicas needed=3 actual=1 do="run the stream on three servers of a cluster: natsctl apply, or nats stream edit ` + name + ` --replicas 3"`
			if strings.Count(log.String(), want) != 1 {
				t.Errorf("%s: the log does not say once %s:\n%s", how, want, &log)
			}
		}
		if n := strings.Count(log.String(), "\n"); n != 5 {
			t.Errorf("%s: %d lines:\n%s", how, n, &log)
		}
	}
	s, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := stream.Declared(s.CachedInfo().Config.Metadata); !ok || d != stream.PowerSafe {
		t.Errorf("recorded: %v, %v", d, ok)
	}
}

// TestFoundFallsShort finds streams of others that keep less than is declared.
func TestFoundFallsShort(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	async, memory := stream.Dead(""), stream.Scheduled("")
	async.PersistMode = jetstream.AsyncPersistMode
	memory.Storage = jetstream.MemoryStorage
	for _, c := range []jetstream.StreamConfig{async, memory} {
		if _, err := js.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	p := &stream.Provisioner{JS: js, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if err := p.Ensure(t.Context(), stream.Dead(""), stream.Scheduled("")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"stream=DEAD durability=ProcessSafe field=persist_mode needed=default actual=async do=",
		"stream=SCHEDULED durability=ProcessSafe field=storage needed=file actual=memory do=",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, &log)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines:\n%s", n, &log)
	}
}

// TestMoreThanDeclared finds what keeps more than is declared, which is no
// reason to speak; but PowerSafe that nothing records is told, once.
func TestMoreThanDeclared(t *testing.T) {
	t.Parallel()
	c := testserver.StartCluster(t, 3)
	js := c.JetStream(t)
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	for _, step := range []struct {
		d     stream.Durability
		lines int
	}{{stream.ProcessSafe, 0}, {stream.Memory, 0}, {stream.PowerSafe, 2}} {
		log.Reset()
		p := &stream.Provisioner{JS: js, Durability: step.d, Logger: logger}
		if err := p.Ensure(t.Context(), stream.Dead("")); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Bucket(t.Context(), stream.Positions("")); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(log.String(), "\n"); n != step.lines || strings.Count(log.String(), "level=INFO") != step.lines {
			t.Errorf("%v: %d lines, want %d:\n%s", step.d, n, step.lines, &log)
		}
	}
	s, err := js.Stream(t.Context(), "DEAD")
	if err != nil {
		t.Fatal(err)
	}
	if have := s.CachedInfo().Config; have.Replicas != 3 || have.Metadata[stream.MetaDurability] != "ProcessSafe" {
		t.Errorf("%d replicas, %v", have.Replicas, have.Metadata)
	}
}

// TestMemoryOfItsOwn keeps a shape in memory that is meant to be there, without
// complaint about it.
func TestMemoryOfItsOwn(t *testing.T) {
	t.Parallel()
	own := stream.Positions("")
	own.Storage = jetstream.MemoryStorage
	got := stream.PowerSafe.Bucket(own)
	if d, _ := stream.Declared(got.Metadata); got.Storage != jetstream.MemoryStorage || d != stream.Memory {
		t.Errorf("%v, %v", got.Storage, got.Metadata)
	}
	if _, ok := stream.Declared(own.Metadata); ok {
		t.Errorf("the shape was changed: %v", own.Metadata)
	}
}

func expectScheduled(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	_, err := js.Publish(t.Context(), "scheduled.pending.1", []byte("later"),
		jetstream.WithScheduleAt(time.Now()), jetstream.WithScheduleTarget("scheduled.due.shop.order.expired.v1.o-1"))
	if err != nil {
		t.Fatal(err)
	}
	events, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, 10*time.Second, func() error {
		m, err := events.GetLastMsgForSubject(t.Context(), "events.shop.order.expired.v1.o-1")
		if err == nil && string(m.Data) != "later" {
			t.Fatalf("data %q", m.Data)
		}
		return err
	}, "the event is in EVENTS")
}
