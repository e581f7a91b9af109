package subject_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/agner-go/agner/internal/subject"
)

func TestKeyed(t *testing.T) {
	t.Parallel()
	if got, exact := subject.Keyed("events.a.b.*", "o 1"); !exact || !slices.Equal(got, []string{"events.a.b.o%201"}) {
		t.Errorf("one type: %v, %v", got, exact)
	}
	got, exact := subject.Keyed("dead.*.>", "_")
	if !exact || len(got) != 16 || got[0] != "dead.*.*.%5F" || got[1] != "dead.*.*.*.%5F" {
		t.Errorf("all types: %v, %v", got, exact)
	}
	if got, exact := subject.Keyed("events.>", strings.Repeat("ü", 100)); exact || !slices.Equal(got, []string{"events.>"}) {
		t.Errorf("a key that may be hashed: %v, %v", got, exact)
	}
}

func TestDeadFilter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ns                   subject.Namespace
		group, pattern, want string
		err                  error
	}{
		{"", "", ">", "dead.*.>", nil},
		{"staging", "billing", "shop.order.placed.v1", "staging.dead.billing.shop.order.placed.v1.*", nil},
		{"", "billing", "shop.>", "dead.billing.shop.>", nil},
		{"", "billing", "_invalid", "dead.billing._invalid.*", nil},
		{"", "Billing", ">", "", subject.ErrName},
		{"", "billing", "a..b", "", subject.ErrPattern},
	} {
		if got, err := c.ns.DeadFilter(c.group, c.pattern); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%q %q %q: %q, %v", c.ns, c.group, c.pattern, got, err)
		}
	}
}

// Whatever Dead writes, ParseDead reads; whatever else it is given, it says so.
func FuzzParseDead(f *testing.F) {
	f.Add("", "billing", "shop.order.placed.v1", "o 1", "dead.a.b.c")
	f.Add("staging", "billing", "a b", "", "dead..b.c")
	f.Fuzz(func(t *testing.T, space, group, typ, key, other string) {
		ns := subject.Namespace(space)
		if g, ty, k, err := ns.ParseDead(other); err == nil && (ty == "" || k == "" || strings.Contains(g, ".")) {
			t.Errorf("%q gives %q, %q, %q", other, g, ty, k)
		}
		if ns.Check() != nil || subject.CheckName("group", group) != nil {
			return
		}
		if _, err := subject.Type(typ); err != nil || len(typ) > 300 {
			return
		}
		token := subject.Key(key, 200)
		g, ty, k, err := ns.ParseDead(ns.Dead(group, typ, token))
		if err != nil || g != group || ty != typ || k != token || subject.SafeKey(k) != k {
			t.Errorf("%q %q %q: %q, %q, %q, %v", group, typ, token, g, ty, k, err)
		}
	})
}

func TestSafeKey(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]string{"o%201": "o%201", "*": "_", ">": "_", "a b": "_", "": "_", "~ABC": "~ABC", "a~": "_"} {
		if got := subject.SafeKey(token); got != want {
			t.Errorf("SafeKey(%q) = %q, want %q", token, got, want)
		}
	}
}
