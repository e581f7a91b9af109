//go:build !race

package envelope_test

import (
	"testing"

	"github.com/agner-go/agner/pkg/envelope"
)

// TestAllocations holds the cost bar for an event of nine attributes. It runs
// without the race detector, which allocates on its own.
func TestAllocations(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts what the whole process allocates
	e := nine()
	msg, err := envelope.Marshal(&e)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		most float64
		run  func() error
	}{
		{"Marshal", 12, func() error { _, err := envelope.Marshal(&e); return err }},
		{"Unmarshal", 4, func() error { _, err := envelope.Unmarshal(msg); return err }},
		{"Validate", 0, e.Validate},
		{"MessageID", 1, func() error { _ = envelope.MessageID(e.Source, e.ID); return nil }},
	} {
		var err error
		if got := testing.AllocsPerRun(100, func() { err = tc.run() }); err != nil || got > tc.most {
			t.Errorf("%s: %v allocations, at most %v are allowed; %v", tc.name, got, tc.most, err)
		}
	}
}
