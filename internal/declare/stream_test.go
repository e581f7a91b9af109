package declare_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/declare"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/publish"
)

func found(t *testing.T, js jetstream.JetStream, name string) jetstream.StreamConfig {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().Config
}

// TestDurabilityIsRaised declares more than streams were made with, on a cluster
// of three: each gets three replicas and says so, and never less again.
func TestDurabilityIsRaised(t *testing.T) {
	t.Parallel()
	// In processes of their own: nats-server 2.15.2 now and then leaves a goroutine
	// behind of a store that it scales up.
	js := testserver.StartChildCluster(t, 3).JetStream(t)
	p := &declare.Planner{JS: js, Logger: quiet()}
	with := func(d publish.Durability, replicas int) declare.Declaration {
		return consumer(t, js, consume.Config{Durability: d, Replicas: replicas}, onPlaced(nothing)).Declaration()
	}
	applyAll(t, p, with(publish.ProcessSafe, 1))
	raised := applyAll(t, p, with(publish.PowerSafe, 0))
	for _, s := range raised.Steps[:5] {
		if s.Action != declare.Update || !s.Done || len(s.Changes) != 2 || len(s.Drift) != 0 {
			t.Errorf("%s: changes %v, drift %v", s, s.Changes, s.Drift)
		}
	}
	for _, step := range []struct {
		d        publish.Durability
		replicas int
	}{{publish.PowerSafe, 0}, {publish.ProcessSafe, 1}, {publish.Memory, 0}} {
		for _, s := range applyAll(t, p, with(step.d, step.replicas)).Steps {
			if s.Action != declare.Unchanged {
				t.Errorf("%v: %s: %v", step.d, s, s.Drift)
			}
		}
	}
	for _, name := range []string{"EVENTS", "DEAD", "SCHEDULED", "RETRY_billing", "KV_AGNER_POSITIONS"} {
		if c := found(t, js, name); c.Replicas != 3 || c.Metadata[stream.MetaDurability] != "PowerSafe" || c.Storage != jetstream.FileStorage {
			t.Errorf("%s: %d replicas, %v", name, c.Replicas, c.Metadata)
		}
	}
}

// TestDurabilityOnOneServer records what is declared, and says that one server
// cannot give it.
func TestDurabilityOnOneServer(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	p := &declare.Planner{JS: js, Logger: quiet()}
	with := func(d publish.Durability) declare.Declaration {
		return consumer(t, js, consume.Config{Durability: d}, onPlaced(nothing)).Declaration()
	}
	applyAll(t, p, with(publish.ProcessSafe))
	applyAll(t, p, with(publish.PowerSafe))
	for _, s := range makePlan(t, p, with(publish.PowerSafe)).Steps[:5] {
		want := stream.Difference{Field: "replicas", Declared: "3", Actual: "1"}
		if s.Action != declare.Drift || !slices.Equal(s.Drift, []stream.Difference{want}) || !strings.Contains(s.Note, "three servers") {
			t.Errorf("%s: %v, %q", s, s.Drift, s.Note)
		}
	}
	if m := found(t, js, "EVENTS").Metadata; m[stream.MetaDurability] != "PowerSafe" {
		t.Errorf("recorded: %v", m)
	}
}

// TestStreamGenerations raises a stream to a later shape, which adds and never
// takes; an earlier declaration then leaves it alone.
func TestStreamGenerations(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	p := &declare.Planner{JS: js, Logger: quiet()}
	one := func(change func(*jetstream.StreamConfig)) declare.Declaration {
		d := declare.New("")
		c := stream.Dead("")
		if change != nil {
			change(&c)
		}
		d.Provides(&stream.Provisioner{}, c)
		return d
	}
	step := func(d declare.Declaration) *declare.Step { return applyAll(t, p, d).Steps[0] }
	step(one(nil))
	wider := func(c *jetstream.StreamConfig) {
		c.Subjects = append(c.Subjects, "buried.>")
		c.MaxAge, c.Duplicates, c.AllowRollup = time.Hour, time.Hour, true // a shorter age deletes: it is not done
	}
	if s := step(one(wider)); s.Action != declare.Drift || len(s.Changes) != 0 {
		t.Errorf("same generation: %s, %v", s, s.Changes)
	}
	later := func(c *jetstream.StreamConfig) {
		wider(c)
		c.Metadata = map[string]string{stream.MetaGeneration: "2"}
	}
	s := step(one(later))
	if s.Action != declare.Update || len(s.Drift) != 1 || s.Drift[0].Field != "max_age" || s.Generation != 2 || s.Found != 1 {
		t.Errorf("later generation: %s, changes %v, drift %v", s, s.Changes, s.Drift)
	}
	check := func() {
		t.Helper()
		c := found(t, js, "DEAD")
		if !slices.Equal(c.Subjects, []string{"dead.>", "buried.>"}) || c.MaxAge != stream.DeadMaxAge || c.Duplicates != time.Hour ||
			!c.AllowRollup || stream.GenerationOf(c.Metadata) != 2 || c.Metadata[stream.MetaDurability] != "ProcessSafe" {
			t.Errorf("%+v", c)
		}
	}
	check()
	if s := step(one(nil)); s.Action != declare.Newer || s.Note == "" {
		t.Errorf("earlier generation: %s, %q", s, s.Note)
	}
	check()
	// What runs with the earlier shape uses it as it is, too.
	if err := (&stream.Provisioner{JS: js, Logger: quiet()}).Ensure(t.Context(), stream.Dead("")); err != nil {
		t.Fatal(err)
	}
	check()
}

// TestSourceIsAdded raises a stream that lacks a source.
func TestSourceIsAdded(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	bare := stream.Events("")
	bare.Sources = nil
	if _, err := js.CreateStream(t.Context(), bare); err != nil {
		t.Fatal(err)
	}
	d := declare.New("")
	events := stream.Events("")
	events.Metadata = map[string]string{stream.MetaGeneration: "2"}
	d.Provides(&stream.Provisioner{}, events, stream.Scheduled("")) // in the wrong order, which is no matter
	plan := applyAll(t, &declare.Planner{JS: js, Logger: quiet()}, d)
	expect(t, plan, "create stream SCHEDULED", "update stream EVENTS")
	if c := found(t, js, "EVENTS"); len(c.Sources) != 1 || c.Sources[0].Name != "SCHEDULED" {
		t.Errorf("sources %v", c.Sources)
	}
}

// TestForeignStream leaves alone what Agner did not make, and says how it
// differs.
func TestForeignStream(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	own := jetstream.StreamConfig{Name: "DEAD", Subjects: []string{"dead.>"}, MaxAge: time.Hour}
	if _, err := js.CreateStream(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	p := &declare.Planner{JS: js, Logger: quiet()}
	d := declare.New("")
	d.Provides(&stream.Provisioner{Durability: stream.PowerSafe}, stream.Dead(""))
	before := found(t, js, "DEAD")
	s := applyAll(t, p, d).Steps[0]
	if s.Action != declare.Drift || len(s.Changes) != 0 || !strings.Contains(s.Note, "used as it is") {
		t.Errorf("%s: %v, %q", s, s.Changes, s.Note)
	}
	if after := found(t, js, "DEAD"); after.MaxAge != before.MaxAge || after.Metadata[stream.MetaGeneration] != "" {
		t.Errorf("%+v", after)
	}
}

// TestRead reads what a program has printed, and refuses what it does not
// understand or what Agner would not make.
func TestRead(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	start := consume.FromTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	d := consumer(t, js, consume.Config{Namespace: "staging", Generation: 3, Durability: publish.PowerSafe, Start: start},
		onPlaced(nothing), onPaid()).Declaration()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	two, err := declare.Read(bytes.NewReader(append(append(text, '\n'), text...)))
	if err != nil || len(two) != 2 {
		t.Fatalf("%d declarations: %v", len(two), err)
	}
	again, err := json.Marshal(two[1])
	if err != nil || !bytes.Equal(again, text) {
		t.Errorf("%v:\n%s\nwas\n%s", err, again, text)
	}
	applyAll(t, &declare.Planner{JS: js, Logger: quiet()}, two...)
	for name, c := range map[string]struct{ from, to string }{
		"nothing":        {string(text), ""},
		"not JSON":       {string(text), "{"},
		"another thing":  {string(text), `{"name":"EVENTS"}`},
		"later form":     {`"declaration":1`, `"declaration":2`},
		"unknown member": {`"streams"`, `"rivers":[],"streams"`},
		"unknown option": {`"retention"`, `"colour":"blue","retention"`},
		"namespace":      {`"namespace":"staging"`, `"namespace":"Staging"`},
		"stream of else": {`"name":"staging_EVENTS"`, `"name":"EVENTS"`},
		"bucket of else": {`"bucket":"staging_AGNER`, `"bucket":"AGNER`},
		"durable's name": {`"durable_name":"billing_shop-order-paid-v1"`, `"durable_name":"billing_other"`},
		"durable's home": {`"stream":"staging_EVENTS"`, `"stream":"EVENTS"`},
		"no filter":      {`"filter_subject":"staging.events.shop.order.paid.v1.*",`, ``},
		"push":           {`"filter_subject":"staging.events`, `"deliver_subject":"x","filter_subject":"staging.events`},
		"ack policy":     {`"ack_policy":"explicit"`, `"ack_policy":"none"`},
		"mirror":         {`"retention"`, `"mirror":{"name":"X"},"retention"`},
		"wildcard":       {`"name":"staging_EVENTS"`, `"name":"staging_*"`},
		"durability":     {`"agner.durability":"PowerSafe"`, `"agner.durability":"Diamond"`},
	} {
		bad := strings.Replace(string(text), c.from, c.to, 1)
		if bad == string(text) {
			t.Fatalf("%s: %s is not there", name, c.from)
		}
		if _, err := declare.Read(strings.NewReader(bad)); !errors.Is(err, declare.ErrDeclaration) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRead feeds anything: it is read or refused, and what is read can be
// written and read again.
func FuzzRead(f *testing.F) {
	d := declare.New("ns")
	d.Provides(&stream.Provisioner{}, stream.Scheduled("ns"), stream.Events("ns"))
	d.ProvidesBucket(&stream.Provisioner{}, stream.Positions("ns"))
	text, err := json.Marshal(d)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"declaration":1,"durables":[{"stream":"EVENTS","config":{"durable_name":"a_b","ack_policy":"explicit"}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := declare.Read(bytes.NewReader(text))
		if err != nil {
			if !errors.Is(err, declare.ErrDeclaration) {
				t.Fatalf("%v", err)
			}
			return
		}
		merged := declare.New("")
		for _, d := range all {
			merged.Namespace = d.Namespace
			_ = merged.Merge(d) // an error is an answer
		}
		again, err := json.Marshal(all[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := declare.Read(bytes.NewReader(again)); err != nil {
			t.Fatalf("%v: %s", err, again)
		}
	})
}
