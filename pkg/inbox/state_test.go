package inbox_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/inbox"
)

type text string

func (text) EventType() string { return "text.v1" }

// note is a state with text, whose encoding can be made to panic.
type note struct{ Text string }

func (n note) MarshalJSON() ([]byte, error) {
	if n.Text == "panic" {
		panic("by request")
	}
	return []byte(`{"text":"` + n.Text + `"}`), nil
}

func writing() inbox.Handler {
	return inbox.Answer(func(_ context.Context, tx *inbox.Tx[note], q text) (string, error) {
		before := tx.State.Text
		if q != "" {
			tx.State.Text = string(q)
		}
		return before, nil
	})
}

// TestState has states that are too large, that panic when encoded, that are of
// another version, and that cannot be read: the asker learns it, the neighbours
// do not notice.
func TestState(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	cfg := quick()
	cfg.MaxState, cfg.CachedEntities = 100, 1
	ask := func(to *inbox.Client, key string, q text) (string, error) {
		return inbox.Ask[string](t.Context(), to, key, q)
	}
	to := client(t, js)
	_, stop := start(t, js, cfg, writing())
	for _, tc := range []struct {
		key   string
		q     text
		want  string
		fails bool
	}{
		{"a", "one", "", false},
		{"a", text(strings.Repeat("x", 100)), "", true},
		{"a", "panic", "", true},
		{"a", "two", "one", false},
		{"b", "other", "", false},
		{"a", "", "two", false},
	} {
		got, err := ask(to, tc.key, tc.q)
		if errors.Is(err, inbox.ErrAnswer) != tc.fails || err != nil && !tc.fails || got != tc.want {
			t.Fatalf("%s %.10s: %q, %v", tc.key, tc.q, got, err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	cfg.StateVersion = 1
	_, stop = start(t, js, cfg, writing())
	if _, err := ask(to, "a", "three"); !errors.Is(err, inbox.ErrAnswer) {
		t.Errorf("state of an earlier version without Upgrade: %v", err)
	}
	if got, err := ask(to, "c", "new"); err != nil || got != "" {
		t.Errorf("its neighbour: %q, %v", got, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	cfg.Upgrade = func(_ int, data []byte) ([]byte, error) {
		return bytes.Replace(data, []byte("two"), []byte("upgraded"), 1), nil
	}
	in, stop := start(t, js, cfg, writing())
	if got, err := ask(to, "a", "three"); err != nil || got != "upgraded" {
		t.Errorf("after Upgrade: %q, %v", got, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got, err := inbox.Read[note](t.Context(), in, "a"); err != nil || got.Text != "three" {
		t.Errorf("read: %+v, %v", got, err)
	}
	if _, err := inbox.Read[cart](t.Context(), in, "a"); !errors.Is(err, inbox.ErrConfig) {
		t.Errorf("read as another type: %v", err)
	}
	cfg.StateVersion, cfg.Upgrade = 0, nil
	old, err := inbox.New(js, cfg, writing())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inbox.Read[note](t.Context(), old, "a"); !errors.Is(err, inbox.ErrStateVersion) {
		t.Errorf("read by an earlier program: %v", err)
	}
}

// TestStateless keeps order and writes no state.
func TestStateless(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	var got []int
	in, stop := start(t, js, quick(), inbox.On(func(_ context.Context, _ *inbox.Tx[struct{}], e envelope.Event[itemAdded]) error {
		got = append(got, e.Data.N) // one key, so one goroutine
		return nil
	}))
	to := client(t, js)
	for n := range 100 {
		to.SendAsync(t.Context(), "k", itemAdded{N: n})
	}
	eventually(t, func() error {
		if n := in.Status().Handled; n != 100 {
			return errors.New("not yet")
		}
		return nil
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for i, n := range got {
		if i != n {
			t.Fatalf("message %d is %d", i, n)
		}
	}
	for key, err := range in.Keys(t.Context()) {
		t.Errorf("stored: %q, %v", key, err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	for name, in := range map[string]struct {
		cfg      inbox.Config
		handlers []inbox.Handler
	}{
		"no name":     {inbox.Config{}, []inbox.Handler{adding()}},
		"bad name":    {inbox.Config{Name: "a.b"}, []inbox.Handler{adding()}},
		"no handler":  {inbox.Config{Name: "a"}, nil},
		"twice":       {inbox.Config{Name: "a"}, []inbox.Handler{adding(), adding()}},
		"two states":  {inbox.Config{Name: "a"}, []inbox.Handler{adding(), writing()}},
		"empty":       {inbox.Config{Name: "a"}, []inbox.Handler{{}}},
		"nil handler": {inbox.Config{Name: "a"}, []inbox.Handler{inbox.On[cart, itemAdded](nil)}},
		"partitions":  {inbox.Config{Name: "a", Partitions: 5000}, []inbox.Handler{adding()}},
		"lease":       {inbox.Config{Name: "a", LeaseTTL: 1}, []inbox.Handler{adding()}},
	} {
		if _, err := inbox.New(js, in.cfg, in.handlers...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := inbox.New(nil, inbox.Config{Name: "a"}, adding()); !errors.Is(err, inbox.ErrConfig) {
		t.Errorf("no JetStream: %v", err)
	}
}
