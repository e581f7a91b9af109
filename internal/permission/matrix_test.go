package permission_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
)

// acts are what somebody may try, and who of the company may. All others are
// refused.
func acts() map[string][]string {
	return map[string][]string{
		// Events: who publishes which.
		"pub events.shop.order.placed.v1.o-1":        {"shop", "whole"},
		"pub events.shop.order.erased.v1.o-1":        {},
		"pub events.shop.order.placed.v1.o-1.more":   {},
		"pub relay.carts.1":                          {},
		"pub scheduled.pending.1":                    {"cron"},
		"pub scheduled.due.shop.order.placed.v1.o-1": {},
		"sub events.>":                               {},
		"sub events.shop.order.placed.v1.o-1":        {},

		// A group's own things, and another's.
		"pub dead.billing.shop.order.placed.v1.o-1":                                       {"member", "bound", "whole"},
		"pub dead.shipping.shop.order.placed.v1.o-1":                                      {},
		"pub retry.billing.wait.charge.1":                                                 {"member", "bound", "whole"},
		"pub retry.billing.wait.other.1":                                                  {},
		"pub retry.shipping.wait.charge.1":                                                {},
		"pub retry.billing.due.charge.o-1":                                                {"ann"}, // a replay
		"pub $JS.ACK.EVENTS.billing_charge.1.1.1.0.0":                                     {"member", "bound", "whole"},
		"pub $JS.ACK.EVENTS.shipping_charge.1.1.1.0.0":                                    {},
		"pub $JS.ACK.RETRY_billing.billing_charge.1.1.1.0.0":                              {"member", "bound", "whole"},
		"pub $JS.ACK._.hash.EVENTS.billing_charge.1.1.1.0.0.x":                            {"member", "bound", "whole"},
		"pub $JS.ACK._.hash.EVENTS.shipping_charge.1.1.1.0.0.x":                           {},
		"pub $JS.API.CONSUMER.MSG.NEXT.EVENTS.billing_charge":                             {"member", "bound", "whole", "ann"},
		"pub $JS.API.CONSUMER.MSG.NEXT.EVENTS.shipping_charge":                            {"ann"},
		"pub $JS.API.CONSUMER.CREATE.EVENTS.billing_charge.events.shop.order.placed.v1.*": {"member", "whole", "deployer", "ann"},
		"pub $JS.API.CONSUMER.CREATE.EVENTS.billing_charge.events.>":                      {"ann"},
		"pub $JS.API.CONSUMER.CREATE.EVENTS.billing_charge":                               {"ann"},
		"pub $JS.API.CONSUMER.DURABLE.CREATE.EVENTS.billing_charge":                       {},
		"pub $JS.API.CONSUMER.CREATE.EVENTS.spy.events.shop.order.placed.v1.*":            {"ann"},
		"pub $JS.API.CONSUMER.CREATE.DEAD.spy.dead.>":                                     {"ann"},
		"pub $JS.API.CONSUMER.PAUSE.EVENTS.billing_charge":                                {"whole", "ann"},
		"pub $JS.API.CONSUMER.PAUSE.EVENTS.shipping_charge":                               {"ann"},
		"pub $JS.API.CONSUMER.DELETE.EVENTS.billing_charge":                               {"ann"},
		"pub $JS.API.CONSUMER.RESET.EVENTS.billing_charge":                                {"ann"},
		"pub $KV.AGNER_POSITIONS.billing_charge":                                          {"member", "bound", "whole", "ann", "deployer"},
		"pub $KV.AGNER_POSITIONS.shipping_charge":                                         {"ann"},
		"pub $JS.API.DIRECT.GET.RETRY_billing.retry.billing.wait.charge.1":                {"member", "bound", "whole"},
		"pub $JS.API.DIRECT.GET.KV_AGNER_POSITIONS.$KV.AGNER_POSITIONS.shipping_charge":   {"looker", "ann"},
		"pub $JS.API.DIRECT.GET.EVENTS":                                                   {"ann"},
		"pub $JS.API.DIRECT.GET.EVENTS.events.shop.order.placed.v1.o-1":                   {"ann"},
		"pub $JS.API.STREAM.MSG.GET.EVENTS":                                               {"ann"},
		"pub $JS.API.DIRECT.GET.DEAD":                                                     {"ann"},
		"pub $JS.API.STREAM.MSG.DELETE.DEAD":                                              {"ann"},
		"pub $JS.API.STREAM.MSG.DELETE.EVENTS":                                            {"ann"},

		// Streams.
		"pub $JS.API.STREAM.CREATE.EVENTS":        {"deployer"},
		"pub $JS.API.STREAM.CREATE.MINE":          {},
		"pub $JS.API.STREAM.UPDATE.EVENTS":        {},
		"pub $JS.API.STREAM.DELETE.EVENTS":        {},
		"pub $JS.API.STREAM.DELETE.RETRY_billing": {},
		"pub $JS.API.STREAM.PURGE.EVENTS":         {},
		"pub $JS.API.STREAM.PURGE.DEAD":           {},
		"pub $JS.API.STREAM.PURGE.SCHEDULED":      {"cron", "ann"},
		"pub $JS.API.STREAM.PURGE.RETRY_shipping": {},
		"pub $JS.API.STREAM.PURGE.RETRY_billing":  {"member", "bound", "whole"}, // see docs/permissions.md
		"pub $JS.API.STREAM.SNAPSHOT.EVENTS":      {},
		"pub $JS.API.STREAM.RESTORE.EVENTS":       {},

		// Calls.
		"pub rpc.billing.quote":   {"web", "rival", "whole"},
		"pub rpc.billing.cancel":  {"web", "rival", "whole"},
		"pub rpc.shipping.quote":  {},
		"sub rpc.billing.quote q": {"billing", "whole"},
		"sub rpc.shipping.quote":  {},
		"sub rpc.>":               {},
		"pub _INBOX.web.x":        {"billing", "whole"},
		"sub _INBOX.>":            {},
		"sub _INBOX.*":            {},
		"sub _INBOX.web.>":        {"web"},
		"sub _INBOX.billing.>":    {"billing"},
		"sub >":                   {},
		"sub $JS.ACK.>":           {},
		"sub $SRV.PING.billing":   {"billing", "whole"},
		"sub $SRV.PING.shipping":  {},

		// Control.
		"pub agner.read.billing.b-1.status":    {"looker", "ann"},
		"pub agner.admin.billing.b-1.drain":    {"ann"},
		"pub agner.read.all.all.status":        {"looker", "ann"},
		"sub agner.read.billing.b-1.*":         {"billing", "whole"},
		"sub agner.read.shipping.s-1.*":        {},
		"sub agner.admin.billing.b-1.*":        {"whole"},
		"sub agner.admin.>":                    {},
		"pub fleet.admin.billing.b-1":          {"ann", "billing", "whole"},
		"pub fleet.admin.shipping.s-1":         {"ann"},
		"pub fleet.down.shipping.s-1":          {"billing", "whole"},
		"pub $KV.AGNER_INSTANCES.billing.b-1":  {"billing", "whole"},
		"pub $KV.AGNER_INSTANCES.shipping.s-1": {},
		"pub $SYS.REQ.SERVER.PING":             {},
		"sub $SYS.>":                           {},
	}
}

// TestMatrix has everybody try everything. The server answers each forbidden
// try with a violation that names the subject.
func TestMatrix(t *testing.T) {
	t.Parallel()
	p := open(t, "")
	for who := range company() {
		nc := p.as(t, who)
		for act := range acts() {
			attempt(t, nc, act)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		// Violations are handled by a goroutine of the connection, in order.
		mark := "last.of." + who
		if err := nc.Publish(mark, nil); err != nil {
			t.Fatal(err)
		}
		testserver.Eventually(t, 5*time.Second, func() bool { return p.knows(who, "pub", mark) }, "the last refusal of %s", who)
	}
	for act, may := range acts() {
		fields := strings.Fields(act)
		for who := range company() {
			if refused := p.knows(who, fields[0], fields[1]); refused == slices.Contains(may, who) {
				t.Errorf("%s: %s: refused %t", who, act, refused)
			}
		}
	}
}

// attempt publishes or subscribes, with nothing that could do harm where it is
// allowed.
func attempt(t *testing.T, nc *nats.Conn, act string) {
	t.Helper()
	fields := strings.Fields(act)
	var err error
	switch {
	case fields[0] == "pub":
		err = nc.Publish(fields[1], nil)
	case len(fields) == 3:
		_, err = nc.QueueSubscribeSync(fields[1], fields[2])
	default:
		_, err = nc.SubscribeSync(fields[1])
	}
	if err != nil {
		t.Fatalf("%s: %v", act, err)
	}
}

// knows tells whether somebody was refused to publish, or to subscribe to, a
// subject.
func (p *place) knows(who, kind, subject string) bool {
	text := map[string]string{"pub": "Publish to ", "sub": "Subscription to "}[kind] + `"` + subject + `"`
	return slices.ContainsFunc(p.refused(), func(r string) bool {
		return strings.HasPrefix(r, who+": ") && strings.Contains(r, text)
	})
}
