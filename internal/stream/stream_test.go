package stream_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/internal/testserver"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }

// shapes are all streams of a namespace, each after those it sources.
func shapes(ns subject.Namespace) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{stream.Scheduled(ns), stream.Events(ns), stream.Dead(ns), stream.Retry(ns, "billing")}
}

// TestShapes makes every stream as declared, twice: what the server keeps is the
// shape, so that what was made once never drifts from it.
func TestShapes(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	var log bytes.Buffer
	p := &stream.Provisioner{JS: js, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	for range 2 {
		for _, ns := range []subject.Namespace{"", "staging"} {
			if err := p.Ensure(t.Context(), shapes(ns)...); err != nil {
				t.Fatal(err)
			}
		}
	}
	if log.Len() > 0 {
		t.Errorf("the log says %s", &log)
	}
	var names []string
	for name := range js.StreamNames(t.Context()).Name() {
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{"DEAD", "EVENTS", "RETRY_billing", "SCHEDULED", "staging_DEAD", "staging_EVENTS", "staging_RETRY_billing", "staging_SCHEDULED"}
	if !slices.Equal(names, want) {
		t.Errorf("streams %v, want %v", names, want)
	}
	for _, shape := range shapes("staging") {
		s, err := js.Stream(t.Context(), shape.Name)
		if err != nil {
			t.Fatal(err)
		}
		have := s.CachedInfo().Config
		if d := stream.Drift(shape, have); len(d) > 0 {
			t.Errorf("%s: %+v", shape.Name, d)
		}
		if have.Metadata[stream.MetaGeneration] != "1" || have.Replicas != 1 || have.MaxConsumers != 10_000 {
			t.Errorf("%s: %+v", shape.Name, have)
		}
		for _, subj := range have.Subjects {
			if !strings.HasPrefix(subj, "staging.") {
				t.Errorf("%s takes %s, of another namespace", shape.Name, subj)
			}
		}
	}
}

// TestScheduledFlowsIntoEvents publishes a schedule that is due at once: EVENTS
// has the event, under its own subject.
func TestScheduledFlowsIntoEvents(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	p := &stream.Provisioner{JS: js}
	if err := p.Ensure(t.Context(), shapes("")...); err != nil {
		t.Fatal(err)
	}
	expectScheduled(t, js)
}

// TestFoundIsUsedAsItIs lets an operator's own stream stand, and reports it.
func TestFoundIsUsedAsItIs(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	own := jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}, MaxAge: time.Hour, Storage: jetstream.MemoryStorage}
	if _, err := js.CreateStream(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	p := &stream.Provisioner{JS: js, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if err := p.Ensure(t.Context(), stream.Events("")); err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if c := s.CachedInfo().Config; c.MaxAge != time.Hour || c.Storage != jetstream.MemoryStorage || len(c.Subjects) != 1 || len(c.Sources) != 0 {
		t.Errorf("it was changed: %+v", c)
	}
	for _, field := range []string{"max_age", "storage", "subjects", "sources", "allow_atomic", "allow_direct"} {
		if !strings.Contains(log.String(), "field="+field) {
			t.Errorf("the log does not name %s:\n%s", field, &log)
		}
	}
}

func TestBindMakesNothing(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	p := &stream.Provisioner{JS: js, Bind: true}
	err := p.Ensure(t.Context(), shapes("")...)
	if !errors.Is(err, stream.ErrMissing) || !strings.Contains(err.Error(), "SCHEDULED") {
		t.Errorf("Ensure: %v", err)
	}
	if _, err := p.Bucket(t.Context(), stream.Positions("")); !errors.Is(err, stream.ErrMissing) {
		t.Errorf("Bucket: %v", err)
	}
	if n := countStreams(t, js); n != 0 {
		t.Errorf("%d streams were made", n)
	}
}

func countStreams(t *testing.T, js jetstream.JetStream) int {
	t.Helper()
	n := 0
	for range js.StreamNames(t.Context()).Name() {
		n++
	}
	return n
}

// TestMadeAtOnce has many programs start together on an empty server.
func TestMadeAtOnce(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		p := &stream.Provisioner{JS: srv.JetStream(t)}
		wg.Go(func() {
			errs[i] = p.Ensure(t.Context(), shapes("")...)
			if _, err := p.Bucket(t.Context(), stream.Positions("")); err != nil {
				errs[i] = errors.Join(errs[i], err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if n := countStreams(t, srv.JetStream(t)); n != 5 {
		t.Errorf("%d streams, want 5", n)
	}
}

// TestReplicas asks a server that says it is in a cluster, and is alone.
func TestReplicas(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t, testserver.Options(func(o *server.Options) { o.Cluster.Name = "alone" })).JetStream(t)
	var log bytes.Buffer
	p := &stream.Provisioner{JS: js, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if err := p.Ensure(t.Context(), stream.Dead("")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "one replica") {
		t.Errorf("the log says %q", &log)
	}
	if _, err := p.Bucket(t.Context(), stream.Positions("")); err != nil {
		t.Error(err)
	}
	// Who asks for three gets three, or an error.
	p.Replicas = 3
	if err := p.Ensure(t.Context(), stream.Scheduled("")); err == nil || !strings.Contains(err.Error(), "SCHEDULED") {
		t.Errorf("three replicas on one server: %v", err)
	}
}

func TestErrorsNameTheStream(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	p := &stream.Provisioner{JS: js}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"dead.>"}}); err != nil {
		t.Fatal(err)
	}
	err := p.Ensure(t.Context(), stream.Dead(""))
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.ErrorCode != 10065 || !strings.Contains(err.Error(), "stream DEAD: create") {
		t.Errorf("overlapping subjects: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Ensure(ended, stream.Dead("")); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "stream DEAD") {
		t.Errorf("ended context: %v", err)
	}
}

func TestDrift(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		want   jetstream.StreamConfig
		change func(*jetstream.StreamConfig)
		fields []string
	}{
		"none":             {stream.Events(""), func(*jetstream.StreamConfig) {}, nil},
		"server's words":   {stream.Events(""), func(c *jetstream.StreamConfig) { c.MaxMsgs, c.MaxBytes, c.MaxMsgsPerSubject = -1, -1, -1 }, nil},
		"operator's":       {stream.Events(""), func(c *jetstream.StreamConfig) { c.MaxBytes, c.Description, c.Replicas = 1<<30, "ours", 3 }, nil},
		"more of it":       {stream.Events(""), addToEvents, nil},
		"subject gone":     {stream.Events(""), func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[:1] }, []string{"subjects"}},
		"source gone":      {stream.Events(""), func(c *jetstream.StreamConfig) { c.Sources = nil }, []string{"sources"}},
		"source elsewhere": {stream.Events(""), moveSource, []string{"sources"}},
		"partitions":       {stream.Inbox("", "carts", 64), repartition, []string{"subject_transform"}},
		"retention":        {stream.Events(""), func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, []string{"retention"}},
		"no window":        {stream.Events(""), func(c *jetstream.StreamConfig) { c.Duplicates = 0 }, []string{"duplicate_window"}},
		"eats a key":       {stream.Events(""), func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, []string{"max_msgs_per_subject"}},
		"few consumers":    {stream.Events(""), func(c *jetstream.StreamConfig) { c.MaxConsumers = 1000 }, []string{"max_consumers"}},
		"silent":           {stream.Events(""), func(c *jetstream.StreamConfig) { c.NoAck = true }, []string{"no_ack"}},
		"drops schedules":  {stream.Scheduled(""), func(c *jetstream.StreamConfig) { c.MaxMsgs, c.MaxAge = 5, time.Hour }, []string{"max_age", "max_msgs"}},
		"replicas asked":   {replicated(stream.Dead("")), func(c *jetstream.StreamConfig) { c.Replicas = 1 }, []string{"replicas"}},
	} {
		have := tc.want
		tc.change(&have)
		var fields []string
		for _, d := range stream.Drift(tc.want, have) {
			fields = append(fields, d.Field)
			if d.Declared == d.Actual {
				t.Errorf("%s: %+v", name, d)
			}
		}
		slices.Sort(fields)
		if !slices.Equal(fields, tc.fields) {
			t.Errorf("%s: fields %v, want %v", name, fields, tc.fields)
		}
	}
}

func addToEvents(c *jetstream.StreamConfig) {
	c.Subjects = append(slices.Clone(c.Subjects), "more.>")
	c.Sources = append(slices.Clone(c.Sources), &jetstream.StreamSource{Name: "STATE_carts"})
	c.MaxConsumers = -1
}

func moveSource(c *jetstream.StreamConfig) {
	moved := *c.Sources[0]
	moved.SubjectTransforms = []jetstream.SubjectTransformConfig{{Source: "scheduled.due.>", Destination: "elsewhere.>"}}
	c.Sources = []*jetstream.StreamSource{&moved}
}

func repartition(c *jetstream.StreamConfig) {
	c.SubjectTransform = stream.Inbox("", "carts", 32).SubjectTransform
}

func replicated(c jetstream.StreamConfig) jetstream.StreamConfig {
	c.Replicas = 3
	return c
}
