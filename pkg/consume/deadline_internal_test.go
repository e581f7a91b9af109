package consume

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadlineIsAContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		base, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
		defer cancel()
		made := func() *deadline { return &deadline{base: base, at: time.Now().Add(time.Minute)} }

		d := made()
		if at, ok := d.Deadline(); !ok || time.Until(at) != time.Minute || d.Value(key{}) != "v" || d.Err() != nil {
			t.Error("fresh deadline is wrong")
		}
		child, stop := context.WithCancel(d)
		defer stop()
		<-d.Done()
		synctest.Wait()
		if !errors.Is(d.Err(), context.DeadlineExceeded) || !errors.Is(child.Err(), context.DeadlineExceeded) {
			t.Errorf("after the deadline: %v, child %v", d.Err(), child.Err())
		}

		d = made()
		<-time.After(2 * time.Minute)
		if !errors.Is(d.Err(), context.DeadlineExceeded) {
			t.Errorf("nobody asked before: %v", d.Err())
		}
		<-d.Done()

		d = made()
		d.end()
		<-d.Done()
		if !errors.Is(d.Err(), context.Canceled) {
			t.Errorf("after the end: %v", d.Err())
		}

		d = made()
		done := d.Done()
		d.end()
		<-done

		d = made()
		done = d.Done()
		cancel()
		<-done
		if !errors.Is(d.Err(), context.Canceled) || !errors.Is(made().Err(), context.Canceled) {
			t.Errorf("after the base: %v", d.Err())
		}
	})
}
