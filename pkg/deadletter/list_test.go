package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/deadletter"
	"github.com/agner-go/agner/pkg/envelope"
)

// corpse is a dead letter as docs/wire.md has it, of an event that never was.
type corpse struct {
	group, typ, key, reason, text string
	seq                           int
}

func (c corpse) message() *nats.Msg {
	m, err := envelope.Marshal(&envelope.Raw{
		Attributes: envelope.Attributes{
			ID: "e-" + strconv.Itoa(c.seq), Source: "/test", Type: c.typ, Key: c.key, DataContentType: "application/json",
		},
		Data: fmt.Appendf(nil, `{"order_id":"o-%d","padding":"%0200d"}`, c.seq, c.seq),
	})
	if err != nil {
		return &nats.Msg{Subject: "dead." + c.group + "._invalid._", Header: nats.Header{}}
	}
	m.Subject = subject.Namespace("").Dead(c.group, c.typ, subject.Key(c.key, 600))
	origin, _ := subject.Namespace("").Event(c.typ, c.key)
	for name, value := range map[string]string{
		"Reason": c.reason, "Error": envelope.EscapeHeader(c.text), "Attempts": "10", "Round": "0",
		"Group": c.group, "Subscription": "orders", "Durable": c.group + "_orders", "Instance": "billing-1",
		"Stream": "EVENTS", "Sequence": strconv.Itoa(c.seq), "Created": "1", "Subject": origin,
		"First": "2026-01-01T00:00:00Z", "Last": "2026-01-01T00:08:00Z",
	} {
		m.Header["Agner-Dead-"+name] = []string{value}
	}
	return m
}

// bury stores dead letters.
func bury(tb testing.TB, js jetstream.JetStream, n int, of func(i int) corpse) {
	tb.Helper()
	p := &stream.Provisioner{JS: js}
	if err := p.Ensure(tb.Context(), stream.Dead("")); err != nil {
		tb.Fatal(err)
	}
	for i := range n {
		if _, err := js.PublishMsgAsync(of(i).message(), jetstream.WithStallWait(wait)); err != nil {
			tb.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(wait):
		tb.Fatal("letters were not stored")
	}
}

var (
	reasons = []string{"exhausted", "exhausted", "exhausted", "rejected", "undecodable"}
	types   = []string{"shop.order.placed.v1", "shop.payment.captured.v1", "stock"}
	longKey = strings.Repeat("k", 700)
)

// mixed is the i-th of many letters that differ in all that is filtered by.
func mixed(i int) corpse {
	c := corpse{
		group: []string{"billing", "notify"}[i%2], typ: types[i%3], key: "o-" + strconv.Itoa(i%7),
		reason: reasons[i%5], text: "card " + strconv.Itoa(i%4) + " is Refused", seq: i + 1,
	}
	if i%7 == 6 {
		c.key = longKey
	}
	return c
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	const n = 2100 // more than one batch of a scan
	bury(t, js, n, mixed)
	c := client(t, js, "")
	half := list(t, c, deadletter.Filter{Sequences: []uint64{n / 2}})[0].Stored
	for name, tc := range map[string]struct {
		filter deadletter.Filter
		want   func(i int, l corpse) bool
	}{
		"all":           {deadletter.Filter{}, func(int, corpse) bool { return true }},
		"group":         {deadletter.Filter{Group: "notify"}, func(_ int, l corpse) bool { return l.group == "notify" }},
		"no such group": {deadletter.Filter{Group: "nobody"}, func(int, corpse) bool { return false }},
		"type":          {deadletter.Filter{Type: "stock"}, func(_ int, l corpse) bool { return l.typ == "stock" }},
		"family":        {deadletter.Filter{Type: "shop.>"}, func(_ int, l corpse) bool { return l.typ != "stock" }},
		"key":           {deadletter.Filter{Key: "o-3"}, func(_ int, l corpse) bool { return l.key == "o-3" }},
		"long key":      {deadletter.Filter{Key: longKey}, func(_ int, l corpse) bool { return l.key == longKey }},
		"reason":        {deadletter.Filter{Reason: "rejected"}, func(_ int, l corpse) bool { return l.reason == "rejected" }},
		"subscription":  {deadletter.Filter{Subscription: "others"}, func(int, corpse) bool { return false }},
		"error":         {deadletter.Filter{Error: "CARD 2 is"}, func(_ int, l corpse) bool { return strings.Contains(l.text, "card 2") }},
		"after":         {deadletter.Filter{After: 1200}, func(i int, _ corpse) bool { return i >= 1200 }},
		"through":       {deadletter.Filter{Through: 1200}, func(i int, _ corpse) bool { return i < 1200 }},
		"since":         {deadletter.Filter{Since: half}, func(i int, _ corpse) bool { return i >= n/2-1 }},
		"until":         {deadletter.Filter{Until: half}, func(i int, _ corpse) bool { return i < n/2-1 }},
		"several": {deadletter.Filter{Group: "billing", Type: "shop.>", Reason: "exhausted", Since: half, Error: "card 0"}, func(i int, l corpse) bool {
			return i >= n/2-1 && l.group == "billing" && l.typ != "stock" && l.reason == "exhausted" && strings.Contains(l.text, "card 0")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want, got []uint64
			for i := range n {
				if tc.want(i, mixed(i)) {
					want = append(want, uint64(i+1))
				}
			}
			for _, l := range list(t, c, tc.filter) {
				got = append(got, l.Sequence)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d letters, want %d", len(got), len(want))
			}
			// Page by page it is the same.
			var paged []uint64
			f := tc.filter
			for f.Limit = len(want)/3 + 1; ; {
				page := list(t, c, f)
				for _, l := range page {
					paged = append(paged, l.Sequence)
				}
				if len(page) < f.Limit {
					break
				}
				f.After = page[len(page)-1].Sequence
			}
			if !slices.Equal(paged, want) {
				t.Errorf("%d letters page by page, want %d", len(paged), len(want))
			}
		})
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	bury(t, js, 300, mixed)
	if _, err := js.Publish(t.Context(), "dead.billing.strange._", []byte("no dead letter")); err != nil {
		t.Fatal(err)
	}
	counts, err := client(t, js, "").Count(t.Context(), deadletter.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for i, n := range counts {
		total += n.Letters
		if i > 0 && n.Letters > counts[i-1].Letters || n.First > n.Last || n.Newest.Before(n.Oldest) {
			t.Errorf("count %d is %+v", i, n)
		}
	}
	if last := counts[len(counts)-1]; last.Type != "strange" || last.Reason != "" || last.Group != "billing" {
		t.Errorf("what is no dead letter is counted as %+v", last)
	}
	if total != 301 || len(counts) != 19 { // 2 groups, 3 types, 3 reasons, 1 stranger
		t.Errorf("%d letters in %d counts", total, len(counts))
	}
}

// A scan goes on over the removal of what it reads, and over a lost connection.
func TestListWhileLettersGo(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Listen())
	js := s.JetStream(t)
	const n = 3000
	bury(t, js, n, mixed)
	dead, err := js.Stream(t.Context(), "DEAD")
	if err != nil {
		t.Fatal(err)
	}
	p := testserver.StartProxy(t, s.URL())
	c := client(t, p.JetStream(t, nats.ReconnectWait(10*time.Millisecond)), "")
	got := 0
	for l, err := range c.List(t.Context(), deadletter.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if got++; l.Sequence == 500 {
			p.Cut()
			// What has not been read by now is gone.
			if err := dead.Purge(t.Context(), jetstream.WithPurgeSequence(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got < 501 || got > 2*1000+1 {
		t.Errorf("%d letters, want those that were under way and the last", got)
	}
}

func TestListEndsEarly(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	bury(t, js, 100, mixed)
	c := client(t, js, "")
	for _, err := range c.List(t.Context(), deadletter.Filter{}) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, err := range c.List(ctx, deadletter.Filter{}) {
		cancel()
		last = err
	}
	if last != nil && !errors.Is(last, context.Canceled) {
		t.Errorf("ended by its context: %v", last)
	}
}

func TestRefusesFilters(t *testing.T) {
	t.Parallel()
	js := testserver.Start(t).JetStream(t)
	if _, err := deadletter.New(js, deadletter.Config{Namespace: "No"}); !errors.Is(err, deadletter.ErrConfig) {
		t.Errorf("namespace: %v", err)
	}
	if _, err := deadletter.New(js, deadletter.Config{Concurrency: -1}); !errors.Is(err, deadletter.ErrConfig) {
		t.Errorf("concurrency: %v", err)
	}
	now := time.Now()
	for _, f := range []deadletter.Filter{
		{Group: "a.b"}, {Type: "a..b"}, {Subscription: "A"}, {Limit: -1}, {Since: now, Until: now},
	} {
		for _, err := range client(t, js, "").List(t.Context(), f) {
			if !errors.Is(err, deadletter.ErrConfig) {
				t.Errorf("%s: %v", f, err)
			}
		}
		for _, err := range client(t, js, "").Discard(t.Context(), f) {
			if !errors.Is(err, deadletter.ErrConfig) {
				t.Errorf("discard %s: %v", f, err)
			}
		}
	}
	for _, err := range client(t, js, "").List(t.Context(), deadletter.Filter{}) {
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("without a stream: %v", err)
		}
	}
}
