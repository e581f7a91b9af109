package inbox_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/agner-go/agner/internal/declare"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/inbox"
)

// TestDeclaration applies what an inbox declares, as JSON and within a
// namespace; the inbox then runs although it may make nothing.
func TestDeclaration(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	cfg := quick()
	cfg.Namespace, cfg.Provision = "staging", new(false)
	in, err := inbox.New(js, cfg, adding())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(in.Declaration())
	if err != nil {
		t.Fatal(err)
	}
	declared, err := declare.Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	p := &declare.Planner{JS: js, Logger: cfg.Logger}
	for _, want := range []declare.Action{declare.Create, declare.Unchanged} {
		plan, err := p.Plan(t.Context(), declared...)
		if err != nil {
			t.Fatal(err)
		}
		if len(plan.Steps) != 6 {
			t.Errorf("%d steps", len(plan.Steps))
		}
		for _, s := range plan.Steps {
			if s.Action != want {
				t.Errorf("%s, want %s: %v", s, want, s.Drift)
			}
		}
		if err := p.Apply(t.Context(), plan, func(*declare.Step) {}); err != nil {
			t.Fatal(err)
		}
	}
	start(t, js, cfg, adding())
}
