package envelope_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

// Each firing of a repeated schedule is an event of its own; a copy of it in
// another stream is the same event.
func TestFiringID(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", envelope.MaxID-10)
	for name, tc := range map[string]struct {
		id, want string
		next     []string
	}{
		"published":       {"daily", "daily", nil},
		"once":            {"daily", "daily", []string{"purge"}},
		"repeated":        {"daily", "daily.2026-11-24T08:00:00Z", []string{"2026-11-24T09:00:00+01:00"}},
		"fraction":        {"daily", "daily.2026-11-24T08:00:00.5Z", []string{"2026-11-24T08:00:00.5Z"}},
		"no time":         {"daily", "daily", []string{"tomorrow"}},
		"two of them":     {"daily", "daily", []string{"2026-11-24T08:00:00Z", "2026-11-24T08:00:00Z"}},
		"escaped":         {"täglich 9:00", "täglich 9:00.2026-11-24T08:00:00Z", []string{"2026-11-24T08:00:00Z"}},
		"leaves no room":  {long, long, []string{"2026-11-24T08:00:00Z"}},
		"empty is absent": {"daily", "daily", []string{""}},
	} {
		m, err := envelope.Marshal(&envelope.Raw{Attributes: envelope.Attributes{ID: tc.id, Source: "/s", Type: "t"}})
		if err != nil {
			t.Fatal(err)
		}
		if tc.next != nil {
			m.Header["Nats-Schedule-Next"] = tc.next
		}
		e, err := envelope.Unmarshal(m)
		if err != nil || e.ID != tc.want {
			t.Errorf("%s: id %q, %v, want %q", name, e.ID, err, tc.want)
		}
		copied := nats.Header{}
		for k, v := range m.Header {
			if !strings.HasPrefix(k, "Nats-") {
				copied[k] = v
			}
		}
		envelope.KeepFiring(copied, m.Header)
		again, err := envelope.Unmarshal(&nats.Msg{Header: copied})
		if err != nil || again.ID != tc.want {
			t.Errorf("%s: id of the copy %q, %v, want %q", name, again.ID, err, tc.want)
		}
		if m.Header.Get("ce-id") != copied.Get("ce-id") && e.ID == tc.id {
			t.Errorf("%s: the copy was changed", name)
		}
	}
}
