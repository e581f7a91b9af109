package testserver_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agner-go/agner/internal/testserver"
)

func TestEventually(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		call func(tb testing.TB)
		want string // of the failure; empty means none
	}{
		"at once, whatever the timeout": {func(tb testing.TB) {
			tb.Helper()
			testserver.Eventually(tb, 0, func() bool { return true }, "never said")
		}, ""},
		"at last": {func(tb testing.TB) {
			tb.Helper()
			began := time.Now()
			testserver.Eventually(tb, time.Minute, func() bool { return time.Since(began) > 40*time.Second }, "never said")
			if took := time.Since(began); took > 41*time.Second {
				tb.Errorf("took %s", took)
			}
		}, ""},
		"never true": {func(tb testing.TB) {
			tb.Helper()
			testserver.Eventually(tb, time.Minute, func() bool { return false }, "event %d", 7)
		}, "after 1m0s: event 7: the condition does not hold"},
		"last error": {func(tb testing.TB) {
			tb.Helper()
			began := time.Now()
			testserver.Eventually(tb, time.Minute, func() error {
				return errors.New("at " + time.Since(began).String())
			}, "event")
		}, "after 1m0s: event: at 1m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				text, failed := record(t, tt.call)
				if failed != (tt.want != "") || strings.TrimSpace(text) != tt.want {
					t.Errorf("failed: %t, said %q; want %q", failed, text, tt.want)
				}
			})
		})
	}
}
