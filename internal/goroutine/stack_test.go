package goroutine_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/agner-go/agner/internal/goroutine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStacks(t *testing.T) {
	t.Parallel()
	ids, release, ended := make(chan string), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		waitHere(ids, release)
	}()
	id := <-ids
	found := goroutine.Stacks([]string{id, "0"})
	if !strings.Contains(found[id], "goroutine_test.waitHere") || len(found) != 1 {
		t.Errorf("stacks of %s: %v", id, found)
	}
	close(release)
	<-ended
}

func waitHere(ids chan<- string, release <-chan struct{}) {
	ids <- goroutine.ID()
	<-release
}
