package service

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestBudget(t *testing.T) {
	t.Parallel()
	b := newBudget()
	for _, want := range []int{budgetStart, budgetMost} {
		n := 0
		for b.spend() {
			n++
		}
		if n != want {
			t.Errorf("the budget had %d retries, want %d", n, want)
		}
		for range 10 * budgetMost * 2 {
			b.earn(100) // more than it holds
		}
	}
	for b.spend() {
	}
	for range 9 {
		b.earn(100)
	}
	if b.spend() {
		t.Error("nine calls earned a retry, ten do at a tenth")
	}
	b.earn(100)
	if !b.spend() || b.spend() {
		t.Error("ten calls earned not one retry")
	}
}

// However many calls earn and spend side by side, the sum holds.
func TestBudgetSideBySide(t *testing.T) {
	t.Parallel()
	var all budgets
	const callers, calls = 8, 10_000
	var spent atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range calls {
				b := all.of("billing")
				b.earn(100)
				if b.spend() {
					spent.Add(1)
				}
			}
		})
	}
	wg.Wait()
	const most = budgetStart + callers*calls/10
	if n := spent.Load(); n > most || n < most/2 {
		t.Errorf("%d retries for %d calls, at most %d", n, callers*calls, most)
	}
	if one := all.of("billing"); one != all.of("billing") || one == all.of("shipping") {
		t.Error("a service has one budget of its own")
	}
}
