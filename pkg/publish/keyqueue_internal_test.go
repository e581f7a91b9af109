package publish

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestKeyQueues compares the queues with a model: a plain list of what has
// entered and not left. An event may be sent if no earlier one in the list
// shares a key with it.
func TestKeyQueues(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := make(keyQueues)
		var list []*Future
		keysOf := make(map[*Future][]string)
		free := func(f *Future) bool {
			for _, earlier := range list[:slices.Index(list, f)] {
				for _, k := range keysOf[earlier] {
					if slices.Contains(keysOf[f], k) {
						return false
					}
				}
			}
			return true
		}
		t.Repeat(map[string]func(*rapid.T){
			"enter": func(t *rapid.T) {
				keys := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 3, rapid.ID[string]).Draw(t, "keys")
				f := &Future{batch: &batch{}}
				for _, k := range keys {
					f.batch.links = append(f.batch.links, link{key: k})
				}
				if len(keys) == 1 {
					f.batch, f.own[0].key = nil, keys[0]
				}
				keysOf[f] = keys
				list = append(list, f)
				q.enter(f)
			},
			"leave": func(t *rapid.T) {
				if len(list) == 0 {
					return
				}
				// Any may leave: those in the middle have been given up.
				f := rapid.SampledFrom(list).Draw(t, "leaver")
				blocked := make(map[*Future]bool)
				for _, x := range list {
					blocked[x] = !free(x)
				}
				ready := q.leave(f)
				i := slices.Index(list, f)
				list = slices.Delete(list, i, i+1)
				for x := ready; x != nil; x = x.ready {
					if !blocked[x] || !free(x) {
						t.Fatal("said to be unblocked, and is not")
					}
					blocked[x] = false
				}
				for _, x := range list {
					x.ready = nil
					if blocked[x] && free(x) {
						t.Fatal("unblocked, and not said so")
					}
				}
			},
			"": func(t *rapid.T) {
				keys := make(map[string]bool)
				for _, f := range list {
					if (f.blocked == 0) != free(f) {
						t.Fatalf("blocked %d, the model says %v", f.blocked, free(f))
					}
					for _, k := range keysOf[f] {
						keys[k] = true
					}
				}
				if len(q) != len(keys) {
					t.Fatalf("%d keys are kept, %d are in use", len(q), len(keys))
				}
			},
		})
	})
}
