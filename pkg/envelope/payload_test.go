package envelope_test

import (
	"context"
	"errors"
	"testing"

	"github.com/agner-go/agner/pkg/envelope"
)

type (
	byValue   struct{ key string }
	byPointer struct{ key string }
	panicking struct{ names []string }
	typeless  struct{}
	badType   struct{}
	mapped    map[string]string
	named     string
)

func (byValue) EventType() string     { return "by.value" }
func (v byValue) EventKey() string    { return v.key }
func (*byPointer) EventType() string  { return "by.pointer" }
func (p *byPointer) EventKey() string { return p.key }
func (p panicking) EventType() string { return p.names[0] }
func (typeless) EventType() string    { return "" }
func (badType) EventType() string     { return "a\nb" }
func (mapped) EventType() string      { return "mapped" }
func (named) EventType() string       { return "named" }

func TestTypeOf(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]func() (string, error){
		"by.value":   envelope.TypeOf[byValue],
		"by.value ":  envelope.TypeOf[*byValue],
		"by.pointer": envelope.TypeOf[*byPointer],
		"mapped":     envelope.TypeOf[mapped],
		"named":      envelope.TypeOf[named],
		"named ":     envelope.TypeOf[*named],
	} {
		if got, err := f(); err != nil || got+" " != want+" " && got+" " != want {
			t.Errorf("TypeOf = %q, %v; want %q", got, err, want)
		}
	}
	for name, tc := range map[string]struct {
		f    func() (string, error)
		want error
	}{
		"interface":   {envelope.TypeOf[envelope.Payload], envelope.ErrPayload},
		"panic":       {envelope.TypeOf[panicking], envelope.ErrPayload},
		"panic, *":    {envelope.TypeOf[*panicking], envelope.ErrPayload},
		"empty":       {envelope.TypeOf[typeless], envelope.ErrRequired},
		"line break":  {envelope.TypeOf[badType], envelope.ErrText},
		"line break*": {envelope.TypeOf[*badType], envelope.ErrText},
	} {
		if got, err := tc.f(); !errors.Is(err, tc.want) || got != "" {
			t.Errorf("%s: %q, %v; want %v", name, got, err, tc.want)
		}
	}
}

func TestKeyOf(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		p    any
		want string
	}{
		{byValue{"k"}, "k"},
		{&byValue{"k"}, "k"},
		{&byPointer{key: "k"}, "k"},
		{(*byValue)(nil), ""},
		{(*byPointer)(nil), ""},
		{typeless{}, ""},
		{nil, ""},
		{42, ""},
	} {
		if got := envelope.KeyOf(tc.p); got != tc.want {
			t.Errorf("KeyOf(%#v) = %q, want %q", tc.p, got, tc.want)
		}
	}
}

func TestCause(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	requireCause(t, ctx, "", "")
	first := &envelope.Attributes{ID: "e-1"}
	ctx = envelope.ContextWithCause(ctx, first)
	requireCause(t, ctx, "e-1", "e-1")
	first.ID = "changed"
	requireCause(t, ctx, "e-1", "e-1")
	requireCause(t, envelope.ContextWithCause(ctx, &envelope.Attributes{ID: "e-2", CorrelationID: "e-1", CausationID: "e-1"}), "e-1", "e-2")
	requireCause(t, context.WithoutCancel(ctx), "e-1", "e-1")
}

func requireCause(t *testing.T, ctx context.Context, correlation, causation string) {
	t.Helper()
	if a, b := envelope.Cause(ctx); a != correlation || b != causation {
		t.Errorf("Cause = %q, %q; want %q, %q", a, b, correlation, causation)
	}
}
