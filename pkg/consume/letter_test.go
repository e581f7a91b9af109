package consume_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

const secret = "4111-1111"

// What Redact takes out stands nowhere in DEAD, and what it leaves is as it was.
func TestRedact(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		redact  func(*consume.Letter)
		marked  string
		subject string
		data    string
	}{
		"nothing": {func(*consume.Letter) {}, "", "o-0", secret},
		"body": {func(l *consume.Letter) {
			for i := range l.Data {
				l.Data[i] = 'x' // in place: it is a copy
			}
		}, "body", "o-0", "xxx"},
		"headers": {func(l *consume.Letter) {
			l.Header["ce-subject"][0] = "hidden"
			l.Header["Nats-Rollup"] = []string{"all"}
			l.Header["Agner-Dead-Reason"] = []string{"none"}
		}, "headers", "o-0", secret},
		"key": {func(l *consume.Letter) { l.Key = "" }, "headers", "_", secret},
		"all": {func(l *consume.Letter) { *l = consume.Letter{Error: "hidden"} }, "body,headers", "_", ""},
		"by a hook that panics": {func(l *consume.Letter) {
			l.Key = "half done"
			panic("boom")
		}, "body,headers", "_", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.streams(t)
			m := message(t, "1", orderPlaced{OrderID: "o-0"})
			m.Data = []byte(`{"order_id":"` + secret + `"}`)
			m.Header["ce-subject"] = []string{secret}
			if _, err := b.js.PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			cfg := quick()
			cfg.MaxAttempts = 1
			cfg.Redact = func(l *consume.Letter) {
				if l.Type != "shop.order.placed.v1" || l.Reason != "exhausted" || l.Key != "o-0" || string(l.Data) != string(m.Data) ||
					l.Error != "card "+secret+" is refused" || l.Header.Get("ce-id") != "1" || l.Header.Get("Nats-Msg-Id") != "" {
					t.Errorf("hook was given %+v", l)
				}
				c.redact(l)
			}
			start(t, b.js, cfg, consume.OnEvent("shop.order.placed.v1", func(context.Context, envelope.Raw) error {
				return fmt.Errorf("card %s is refused", secret)
			}))
			var dead []*jetstream.RawStreamMsg
			eventually(t, func() error {
				if dead = b.dead(t); len(dead) != 1 {
					return errors.New("no dead letter")
				}
				return nil
			})
			d := dead[0]
			if got := d.Header.Get(consume.HeaderDeadRedacted); got != c.marked {
				t.Errorf("marked %q, want %q", got, c.marked)
			}
			if want := "dead.billing.shop.order.placed.v1." + c.subject; d.Subject != want {
				t.Errorf("subject %s, want %s", d.Subject, want)
			}
			if got := d.Header.Get(consume.HeaderDeadSubject); got != "events.shop.order.placed.v1."+c.subject {
				t.Errorf("origin is %s", got)
			}
			if !strings.Contains(string(d.Data), c.data) || c.data == "" && len(d.Data) > 0 {
				t.Errorf("body is %s", d.Data)
			}
			if d.Header.Get(consume.HeaderDeadReason) != "exhausted" || d.Header.Get("Nats-Rollup") != "" {
				t.Errorf("headers are %v", d.Header)
			}
			if text := fmt.Sprint(d.Subject, d.Header); c.marked == "body,headers" && (strings.Contains(text, secret) || strings.Contains(text, "o-0")) {
				t.Errorf("letter still holds what it should not: %s", text)
			}
		})
	}
}
