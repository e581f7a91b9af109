package inbox

import (
	"testing"
	"testing/synctest"
)

// TestUncommittedAreBounded has as many states wait for commits as may: a
// partition adds none to its own until a commit has taken those, whatever becomes
// of that commit none is counted for good, and one that has none waiting goes on.
func TestUncommittedAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &engine{in: &Inbox{cfg: Config{CachedEntities: 10}}, bell: make(chan struct{}, 1)}
		e.committer = newCommitter(e)
		r := e.newRun(0, cursor{Owner: "me"}, 0)
		seq := uint64(0)
		accept := func(ent *entity) error {
			seq++
			return r.accept(&letter{mail: mail{seq: seq}}, ent, &call{}, []byte("state"), true, nil)
		}
		const others = 2 * maxBatch
		e.held.Store(others)
		a, b := &entity{key: "a"}, &entity{key: "b"}
		for range 3 { // one that waits already costs nothing more
			if err := accept(a); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error, 1)
		go func() { done <- accept(b) }()
		synctest.Wait()
		if len(done) > 0 {
			t.Fatal("a second state was accepted")
		}
		w, _ := r.takeWork(maxBatch, maxBatchBytes)
		if err := <-done; err != nil || len(w.states) != 1 || w.messages != 3 {
			t.Fatalf("the commit has %d states and %d messages; then: %v", len(w.states), w.messages, err)
		}
		if n := e.held.Load(); n != others+2 {
			t.Errorf("%d states wait, want %d", n, others+2)
		}
		r.landed(w, 1)
		if n := e.held.Load(); n != others+1 {
			t.Errorf("%d states wait after the commit, want %d", n, others+1)
		}
		w, _ = r.takeWork(maxBatch, maxBatchBytes)
		r.end(errFenced)
		r.landed(w, 2)
		if n := e.held.Load(); n != others {
			t.Errorf("%d states wait after the end, want %d", n, others)
		}
	})
}
