package supervise_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

func TestOrderedStartAndReverseStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log []string
		child := func(name string) supervise.Child {
			return supervise.Child{Name: name, Runner: supervise.ReadyFunc(func(ctx context.Context, ready func()) error {
				log = append(log, "start "+name)
				<-time.After(time.Second)
				ready()
				<-ctx.Done()
				<-time.After(time.Second)
				log = append(log, "stop "+name)
				return ctx.Err()
			})}
		}
		sup, err := supervise.New(supervise.Config{Name: "t"}, child("a"), child("b"), child("c"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		began := time.Now()
		go func() { done <- sup.RunReady(ctx, func() { cancel() }) }()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		want := []string{"start a", "start b", "start c", "stop c", "stop b", "stop a"}
		if !slices.Equal(log, want) {
			t.Errorf("got %v, want %v", log, want)
		}
		if d := time.Since(began); d != 6*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestRestartAndIntensity(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		runs := 0
		sup, err := supervise.New(supervise.Config{}, supervise.Child{Name: "a", Runner: supervise.RunnerFunc(func(context.Context) error {
			runs++
			return boom
		})})
		if err != nil {
			t.Fatal(err)
		}
		err = sup.Run(t.Context())
		var gaveUp *supervise.IntensityError
		if !errors.As(err, &gaveUp) || !errors.Is(err, boom) || runs != 6 {
			t.Errorf("after %d runs: %v", runs, err)
		}
	})
}
