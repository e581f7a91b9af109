package publish_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/publish"
)

// outage is a time in which no server could have published what came due.
type outage struct{ from, to time.Time }

// scheduleRun is the size of a run of TestSchedulesUnderKills.
type scheduleRun struct {
	events int
	over   time.Duration
	lead   time.Duration // from now to the first
	kills  int
}

// scheduleRuns: AGNER_SCHEDULES=long is 10,000 events over a minute with two
// kills, =short 2,000 over ten seconds; the plain form is smaller still.
func scheduleRuns() scheduleRun {
	switch os.Getenv("AGNER_SCHEDULES") {
	case "long":
		return scheduleRun{10_000, time.Minute, 8 * time.Second, 2}
	case "short":
		return scheduleRun{2_000, 10 * time.Second, 4 * time.Second, 2}
	}
	return scheduleRun{300, 2 * time.Second, time.Second, 1}
}

// TestSchedulesUnderKills spreads scheduled events over a time in which the
// server is killed with SIGKILL: each comes, none early, none late while the
// server stands; what comes twice after a kill is counted.
func TestSchedulesUnderKills(t *testing.T) {
	t.Parallel()
	child := testserver.StartChild(t)
	run := scheduleRuns()
	s := newScheduleTest(t, child.JetStream(t), run)
	s.publish()
	for k := 1; k <= run.kills; k++ {
		s.until(k)
		from := time.Now()
		child.Kill()
		child.Restart(t)
		s.outages = append(s.outages, outage{from, time.Now().Add(time.Second)})
	}
	s.check()
}

// TestSchedulesUnderLeaderKills does the same with three servers: the leader of
// SCHEDULED, then that of EVENTS is killed, and started again. It is for the
// long and the short form only; the plain form says so and has none.
func TestSchedulesUnderLeaderKills(t *testing.T) {
	t.Parallel()
	run := scheduleRuns()
	if run.kills < 2 {
		t.Log("three servers and elections take too long for the plain form: `make schedules` runs this")
		return
	}
	cluster := testserver.StartChildCluster(t, 3)
	s := newScheduleTest(t, cluster.JetStream(t), run)
	s.publish()
	for k := 1; k <= run.kills; k++ {
		s.until(k)
		name := []string{"SCHEDULED", "EVENTS"}[k%2]
		i := cluster.Leader(name)
		from := time.Now()
		cluster.Children[i].Kill()
		cluster.Children[i].Restart(t)
		cluster.WaitCurrent("SCHEDULED")
		cluster.WaitCurrent("EVENTS")
		// A sourcing stream that has lost its source's leader looks for it
		// again after some seconds.
		s.outages = append(s.outages, outage{from, time.Now().Add(12 * time.Second)})
	}
	s.check()
}

type scheduleTest struct {
	t       *testing.T
	js      jetstream.JetStream
	run     scheduleRun
	pub     *publish.Publisher
	first   time.Time
	outages []outage
}

func newScheduleTest(t *testing.T, js jetstream.JetStream, run scheduleRun) *scheduleTest {
	t.Helper()
	return &scheduleTest{t: t, js: js, run: run, pub: newPublisher(t, js, publish.Config{AckTimeout: 2 * time.Second})}
}

// due is when event n is to come.
func (s *scheduleTest) due(n int) time.Time {
	return s.first.Add(time.Duration(n) * s.run.over / time.Duration(s.run.events))
}

// until waits for the time of the kth kill.
func (s *scheduleTest) until(k int) {
	<-time.After(time.Until(s.first.Add(s.run.over * time.Duration(k) / time.Duration(s.run.kills+1))))
}

func (s *scheduleTest) publish() {
	s.t.Helper()
	if _, err := s.pub.Publish(s.t.Context(), tick{N: 1}); err != nil { // the streams are made
		s.t.Fatal(err)
	}
	s.first = time.Now().Add(s.run.lead).Truncate(time.Millisecond)
	futures := make([]*publish.Future, s.run.events)
	for n := range futures {
		futures[n] = s.pub.PublishAsync(s.t.Context(), reminder{N: n}, publish.At(s.due(n)), publish.WithID(strconv.Itoa(n)))
	}
	for n, f := range futures {
		if _, err := f.Wait(s.t.Context()); err != nil {
			s.t.Fatalf("event %d: %v", n, err)
		}
	}
	if took := time.Since(s.first); took > 0 {
		s.t.Logf("scheduling took %s longer than there was: the first events were past", took)
	}
}

func (s *scheduleTest) check() {
	s.t.Helper()
	<-time.After(time.Until(s.due(s.run.events)))
	testserver.Eventually(s.t, time.Minute, func() error {
		ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
		defer cancel()
		for _, err := range s.pub.Schedules(ctx) {
			return errors.Join(errors.New("there are schedules that have not fired"), err)
		}
		return nil
	}, "all have fired")
	testserver.Eventually(s.t, time.Minute, func() error {
		events, err := s.js.Stream(s.t.Context(), "EVENTS")
		if err == nil {
			for _, source := range events.CachedInfo().Sources {
				if source.Lag > 0 {
					err = fmt.Errorf("lag %d", source.Lag)
				}
			}
			if n := events.CachedInfo().State.Msgs; int(n) < s.run.events+1 {
				err = fmt.Errorf("%d of %d", n, s.run.events)
			}
		}
		return err
	}, "EVENTS has them")
	events, at := arrivals(s.t, s.js)
	times := map[string]int{}
	var late, after []time.Duration
	early := 0
	for i, e := range events {
		times[e.ID]++
		n, err := strconv.Atoi(e.ID)
		if err != nil {
			s.t.Fatal(err)
		}
		by := at[i].Sub(s.due(n))
		switch {
		case times[e.ID] > 1: // counted below
		case by < 0:
			early++
		case s.away(s.due(n)):
			after = append(after, by)
		default:
			late = append(late, by)
		}
	}
	again := 0
	for _, n := range times {
		again += n - 1
	}
	slices.Sort(late)
	slices.Sort(after)
	s.t.Logf("%d events over %s, %d kills: %d stored, %d of them again after a kill, %d early; late by %s (half), %s (99 %%), %s (most); %d that came due around a kill by %s at most",
		s.run.events, s.run.over, s.run.kills, len(events), again, early, at50(late), at99(late), last(late), len(after), last(after))
	if len(times) != s.run.events {
		s.t.Errorf("%d of %d events came", len(times), s.run.events)
	}
	if early > 0 {
		s.t.Errorf("%d events were early", early)
	}
	if os.Getenv("AGNER_SCHEDULES") != "" && last(late) > 500*time.Millisecond {
		s.t.Errorf("while the server stood events were late by up to %s", last(late))
	}
}

func (s *scheduleTest) away(due time.Time) bool {
	return slices.ContainsFunc(s.outages, func(o outage) bool {
		return due.After(o.from.Add(-time.Second)) && due.Before(o.to)
	})
}

func at50(sorted []time.Duration) time.Duration { return quantile(sorted, 50) }
func at99(sorted []time.Duration) time.Duration { return quantile(sorted, 99) }
func last(sorted []time.Duration) time.Duration { return quantile(sorted, 100) }

func quantile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}
