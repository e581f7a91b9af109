package publish_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

// reminder is what is published later.
type reminder struct {
	N int `json:"n"`
}

func (reminder) EventType() string  { return "test.reminder.v1" }
func (r reminder) EventKey() string { return strconv.Itoa(r.N % 7) }

// arrivals reads all reminders of EVENTS, with the time at which each was
// stored.
func arrivals(t *testing.T, js jetstream.JetStream) ([]envelope.Raw, []time.Time) {
	t.Helper()
	s, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	var events []envelope.Raw
	var at []time.Time
	for seq := uint64(1); ; seq++ {
		m, err := s.GetMsg(t.Context(), seq, jetstream.WithGetMsgSubject("events.test.reminder.v1.*"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return events, at
		}
		if err != nil {
			t.Fatal(err)
		}
		seq = m.Sequence
		e, err := envelope.Unmarshal(&nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
		if err != nil {
			t.Fatal(err)
		}
		if want := "events.test.reminder.v1." + e.Key; m.Subject != want {
			t.Errorf("subject %s, want %s", m.Subject, want)
		}
		events, at = append(events, e), append(at, m.Time)
	}
}

func waitArrivals(t *testing.T, js jetstream.JetStream, n int) ([]envelope.Raw, []time.Time) {
	t.Helper()
	s, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, 20*time.Second, func() error {
		i, err := s.Info(t.Context())
		if err == nil && i.State.Msgs < uint64(n) {
			err = fmt.Errorf("%d of %d", i.State.Msgs, n)
		}
		return err
	}, "%d events have come due", n)
	return arrivals(t, js)
}

func pending(t *testing.T, pub *publish.Publisher) []publish.Schedule {
	t.Helper()
	var all []publish.Schedule
	for s, err := range pub.Schedules(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func TestAtAndIn(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub := newPublisher(t, js, publish.Config{})
	if got := pending(t, pub); len(got) != 0 {
		t.Errorf("before anything: %+v", got)
	}
	due := time.Now().Add(1300 * time.Millisecond)
	ack, err := pub.Publish(t.Context(), reminder{N: 1}, publish.At(due), publish.WithID("r-1"))
	if err != nil || ack.Stream != "SCHEDULED" || ack.Schedule == "" || ack.ID != "r-1" {
		t.Fatalf("%+v, %v", ack, err)
	}
	in, err := pub.PublishAsync(t.Context(), reminder{N: 2}, publish.In(700*time.Millisecond), publish.WithScheduleID("my own: *.>")).Wait(t.Context())
	inDue := time.Now().Add(700 * time.Millisecond)
	if err != nil || in.Schedule != "my own: *.>" {
		t.Fatalf("%+v, %v", in, err)
	}
	// Past times are due at once; the far future waits.
	if _, err := pub.Publish(t.Context(), reminder{N: 3}, publish.At(time.Now().Add(-time.Hour))); err != nil {
		t.Fatal(err)
	}
	far, err := pub.Publish(t.Context(), reminder{N: 4}, publish.In(1000*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	got := pending(t, pub)
	if len(got) < 3 || got[0].ID != ack.Schedule || !got[0].At.Equal(due) || got[0].Type != "test.reminder.v1" || got[0].Key != "1" || got[0].EventID != "r-1" || got[1].ID != in.Schedule {
		t.Errorf("%+v", got)
	}
	events, at := waitArrivals(t, js, 3)
	for i, n := range []int{3, 2, 1} {
		if want := fmt.Sprintf(`{"n":%d}`, n); string(events[i].Data) != want {
			t.Errorf("event %d is %s", n, events[i].Data)
		}
	}
	if e := events[2]; e.ID != "r-1" || !e.Time.Equal(due) {
		t.Errorf("%+v", e.Attributes)
	}
	for i, want := range map[int]time.Time{2: due, 1: inDue} {
		late := at[i].Sub(want)
		t.Logf("late by %s", late)
		if late < -time.Millisecond && i == 2 || late > 3*time.Second { // 0.5 s on a machine of one's own; see TestSchedulesUnderKills
			t.Errorf("late by %s", late)
		}
	}
	if got := pending(t, pub); len(got) != 1 || got[0].ID != far.Schedule {
		t.Errorf("%+v", got)
	}
	if err := pub.CancelSchedule(t.Context(), far.Schedule); err != nil {
		t.Error(err)
	}
	for _, id := range []string{far.Schedule, ack.Schedule, "", strings.Repeat("x", 300)} {
		if err := pub.CancelSchedule(t.Context(), id); !errors.Is(err, publish.ErrNoSchedule) {
			t.Errorf("cancel %q: %v", id, err)
		}
	}
	if got := pending(t, pub); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// The same event again is the same schedule; at another time it is moved.
func TestScheduledAgain(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub := newPublisher(t, js, publish.Config{})
	send := func(at time.Time, opts ...publish.Option) publish.Ack {
		t.Helper()
		ack, err := pub.Publish(t.Context(), reminder{N: 1}, append(opts, publish.At(at), publish.WithID("r-1"))...)
		if err != nil {
			t.Fatal(err)
		}
		return ack
	}
	one, two := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	first := send(one)
	if again := send(one); !again.Duplicate || again.Schedule != first.Schedule {
		t.Errorf("%+v, then %+v", first, again)
	}
	if moved := send(two); moved.Duplicate || moved.Schedule != first.Schedule {
		t.Errorf("%+v", moved)
	}
	if got := pending(t, pub); len(got) != 1 || !got[0].At.Equal(two) {
		t.Errorf("%+v", got)
	}
	send(two, publish.WithScheduleID("beside"))
	if got := pending(t, pub); len(got) != 1 {
		// A duplicate by its event and time: nothing is stored.
		t.Errorf("%+v", got)
	}
}

func TestCron(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	js := srv.JetStream(t)
	declare := func(pub *publish.Publisher, n int, cron, zone string) (publish.Ack, error) {
		return pub.Publish(t.Context(), reminder{N: n}, publish.Cron(cron, zone), publish.WithScheduleID("each second"))
	}
	// Ten instances declare the same at once: one schedule.
	var wg sync.WaitGroup
	acks := make([]publish.Ack, 10)
	for i := range acks {
		pub := newPublisher(t, srv.JetStream(t), publish.Config{})
		wg.Go(func() {
			var err error
			if acks[i], err = declare(pub, 1, "* * * * * *", "Europe/Berlin"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	stored := 0
	for _, a := range acks {
		if !a.Duplicate {
			stored++
		}
		if a.Sequence != acks[0].Sequence || a.Schedule != "each second" || a.ID != "each second" || a.Stream != "SCHEDULED" {
			t.Errorf("%+v", a)
		}
	}
	if stored != 1 {
		t.Errorf("%d of ten instances stored it", stored)
	}
	events, at := waitArrivals(t, js, 3)
	ids := map[string]bool{}
	for i, e := range events {
		ids[e.ID] = true
		if !strings.HasPrefix(e.ID, "each second.20") || !e.Time.IsZero() {
			t.Errorf("%+v", e.Attributes)
		}
		if i > 0 && at[i].Sub(at[i-1]) > 5*time.Second {
			t.Errorf("%s between firings", at[i].Sub(at[i-1]))
		}
	}
	if len(ids) != len(events) {
		t.Errorf("ids %v of %d firings", ids, len(events))
	}
	pub := newPublisher(t, js, publish.Config{})
	// Another content replaces it; a five-field expression is one.
	if a, err := declare(pub, 2, "0 9 * * 1-5", ""); err != nil || a.Duplicate || a.Sequence == acks[0].Sequence {
		t.Errorf("%+v, %v", a, err)
	}
	got := pending(t, pub)
	if len(got) != 1 || got[0].Cron != "0 0 9 * * 1-5" || got[0].Zone != "" || got[0].ID != "each second" || got[0].Key != "2" {
		t.Errorf("%+v", got)
	}
	if a, err := declare(pub, 2, "0 9 * * 1-5", ""); err != nil || !a.Duplicate {
		t.Errorf("%+v, %v", a, err)
	}
	if err := pub.CancelSchedule(t.Context(), "each second"); err != nil {
		t.Error(err)
	}
	if got := pending(t, pub); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestSchedulesThatAreNone(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	pub := newPublisher(t, js, publish.Config{})
	id := publish.WithScheduleID("s")
	for name, opts := range map[string][]publish.Option{
		"no time":      {publish.At(time.Time{})},
		"far too far":  {publish.At(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))},
		"id alone":     {id},
		"long id":      {publish.In(time.Hour), publish.WithScheduleID(strings.Repeat("x", publish.MaxScheduleID+1))},
		"nameless":     {publish.Cron("@daily", "")},
		"no cron":      {publish.Cron("", ""), id},
		"four fields":  {publish.Cron("* * * *", ""), id},
		"at as cron":   {publish.Cron("@at 2030-01-01T00:00:00Z", ""), id},
		"bad field":    {publish.Cron("99 * * * *", ""), id},
		"bad zone":     {publish.Cron("@daily", "Mars/Olympus"), id},
		"zone of @ev.": {publish.Cron("@every 90s", "Europe/Berlin"), id},
		"too often":    {publish.Cron("@every 10ms", ""), id},
	} {
		_, err := pub.Publish(t.Context(), reminder{N: 1}, opts...)
		var e *publish.Error
		if !errors.Is(err, publish.ErrSchedule) || !errors.As(err, &e) || errors.Is(err, publish.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := pub.PublishAsync(t.Context(), reminder{}, publish.Cron("@daily", ""), id).Wait(t.Context()); !errors.Is(err, publish.ErrSchedule) {
		t.Errorf("async: %v", err)
	}
	if _, err := pub.PublishBatch(t.Context(), []envelope.Payload{reminder{N: 1}, reminder{N: 2}}, publish.In(time.Hour)); !errors.Is(err, publish.ErrSchedule) {
		t.Errorf("batch: %v", err)
	}
	if got := pending(t, pub); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

const schedulePermissions = `
accounts { A { jetstream: enabled, users: [
  {user: admin, password: p}
  {user: shop, password: p, permissions: {publish: ["events.shop.>", "$JS.API.STREAM.INFO.*", "$JS.API.DIRECT.GET.>"], subscribe: "_INBOX.>"}}
  {user: timer, password: p, permissions: {publish: ["events.test.>", "scheduled.pending.>", "$JS.API.STREAM.INFO.*", "$JS.API.DIRECT.GET.SCHEDULED.>"], subscribe: "_INBOX.>"}}
] } }`

// Who may not publish to scheduled.> can neither write elsewhere nor purge by
// means of schedules, whatever headers he sends where he may publish.
func TestSchedulesNeedTheirRights(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Conf(schedulePermissions), testserver.Client(nats.UserInfo("admin", "p")))
	admin := srv.JetStream(t)
	createStreams(t, admin)
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	owner := newPublisher(t, srv.JetStream(t, nats.UserInfo("timer", "p"), quiet), publish.Config{Provision: new(false)})
	for _, opts := range [][]publish.Option{{publish.In(time.Hour)}, {publish.Cron("@daily", ""), publish.WithScheduleID("d")}} {
		if _, err := owner.Publish(t.Context(), reminder{N: 1}, opts...); err != nil {
			t.Fatalf("who may: %v", err)
		}
	}
	if _, err := owner.Publish(t.Context(), reminder{N: 1}); err != nil {
		t.Fatal(err)
	}
	counts := func() [2]uint64 {
		var n [2]uint64
		for i, name := range []string{"EVENTS", "SCHEDULED"} {
			s, err := admin.Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			n[i] = s.CachedInfo().State.Msgs
		}
		return n
	}
	before := counts()
	shop := srv.JetStream(t, nats.UserInfo("shop", "p"), quiet)
	pub := newPublisher(t, shop, publish.Config{Provision: new(false)})
	for _, opts := range [][]publish.Option{{publish.In(time.Hour)}, {publish.Cron("@daily", ""), publish.WithScheduleID("d")}, {publish.Cron("@hourly", ""), publish.WithScheduleID("e")}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := pub.Publish(ctx, reminder{N: 2}, opts...)
		cancel()
		if !errors.Is(err, publish.ErrPermission) || !errors.Is(err, publish.ErrRejected) {
			t.Errorf("who may not: %v", err)
		}
	}
	short := func(f func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return f(ctx)
	}
	if err := short(func(ctx context.Context) error { return pub.CancelSchedule(ctx, "d") }); err == nil {
		t.Error("who may not has cancelled a schedule")
	}
	for name, h := range map[string]nats.Header{
		"schedule elsewhere": {"Nats-Schedule": {"@at 2020-01-01T00:00:00Z"}, "Nats-Schedule-Target": {"events.test.reminder.v1.1"}},
		"schedule due":       {"Nats-Schedule": {"@at 2020-01-01T00:00:00Z"}, "Nats-Schedule-Target": {"scheduled.due.test.reminder.v1.1"}},
		"roll up all":        {"Nats-Rollup": {"all"}},
		"roll up subject":    {"Nats-Rollup": {"sub"}},
		"purge as scheduler": {"Nats-Scheduler": {"events.test.reminder.v1.1"}, "Nats-Schedule-Next": {"purge"}},
		"next alone":         {"Nats-Schedule-Next": {"2030-01-01T00:00:00Z"}, "Nats-Scheduler": {"scheduled.pending.d"}},
	} {
		err := short(func(ctx context.Context) error {
			_, err := shop.PublishMsg(ctx, &nats.Msg{Subject: "events.shop.order.v1._", Header: h, Data: []byte("{}")})
			return err
		})
		var api *jetstream.APIError
		if !errors.As(err, &api) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, subj := range []string{"scheduled.pending.d", "scheduled.due.test.reminder.v1.1", "events.test.reminder.v1.1", "$JS.API.STREAM.PURGE.SCHEDULED", "$JS.API.STREAM.PURGE.EVENTS", "$JS.API.STREAM.MSG.DELETE.SCHEDULED"} {
		err := short(func(ctx context.Context) error {
			_, err := shop.Conn().RequestWithContext(ctx, subj, []byte(`{"seq":1}`))
			return err
		})
		if err == nil {
			t.Errorf("%s was answered", subj)
		}
	}
	if after := counts(); after != before {
		t.Errorf("EVENTS and SCHEDULED held %v, and hold %v", before, after)
	}
}
