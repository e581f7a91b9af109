package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agner-go/agner/pkg/deadletter"
	"github.com/agner-go/agner/pkg/service"
)

// stepWithin bounds the wait for what a step shows. It is far beyond what it
// takes, for machines under load.
const stepWithin = time.Minute

// story is the demo from the first order to the last.
func (d *demo) story(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.showServices, d.showFlow, d.showCalls, d.showPanic, d.showCrash, d.showKill, d.showPoison,
	} {
		limit, cancel := context.WithTimeoutCause(ctx, stepWithin, errStuck)
		err := step(limit)
		cancel()
		if err != nil {
			return err
		}
		if err := d.pauseToRead(ctx); err != nil {
			return err
		}
	}
	return nil
}

var errStuck = errors.New("what the story waits for did not happen within " + stepWithin.String())

func (d *demo) pauseToRead(ctx context.Context) error {
	if d.pace.pause == 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d.pace.pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (d *demo) showServices(context.Context) error {
	d.tell.step("Services are up")
	d.tell.say("orders-1   takes orders, answers orders.status")
	for _, p := range d.alive() {
		d.tell.say("%s  charges orders, answers billing.quote: version %s, process %d", p.instance, p.version, p.cmd.Process.Pid)
	}
	d.tell.say("notify-1   tells customers")
	d.tell.say("Each service is one consumer group: its instances share the events.")
	return nil
}

func (d *demo) showFlow(ctx context.Context) error {
	d.tell.step("Events flow")
	d.orders.till.open(d.pace.orderEvery)
	placed, err := d.orders.till.order(ctx, d.pace.flow, orderPlaced{})
	if err != nil {
		return err
	}
	d.tell.say("orders publishes %d events %s; each is stored before Publish returns", len(placed), typeOrderPlaced)
	if err := d.awaitPaid(ctx, placed); err != nil {
		return err
	}
	d.tell.say("billing handles them: %s", d.shares(placed))
	d.tell.say("and publishes %s, which notify and orders handle: all %d are paid", typePaymentCaptured, len(placed))
	return nil
}

// awaitPaid waits until orders have gone all the way: charged, and known as
// paid by every group that wants to know.
func (d *demo) awaitPaid(ctx context.Context, placed []placed) error {
	return d.ledger.bell.await(ctx, func() bool {
		for _, p := range placed {
			pay := identity{sourceBilling, "pay-" + p.event.id}
			if d.ledger.of(billing, p.event).handled == 0 || d.ledger.of(notify, pay).handled == 0 ||
				d.ledger.of(orders, pay).handled == 0 {
				return false
			}
		}
		return true
	})
}

// shares says which instance of billing handled how many of the orders.
func (d *demo) shares(placed []placed) string {
	by := map[string]int{}
	for _, p := range placed {
		for _, instance := range d.ledger.of(billing, p.event).by {
			by[instance]++
		}
	}
	parts := make([]string, 0, len(by))
	for _, instance := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%s %d", instance, by[instance]))
	}
	return strings.Join(parts, ", ")
}

func (d *demo) showCalls(ctx context.Context) error {
	d.tell.step("Calls are answered")
	if err := say(ctx, d, "orders.status", statusRequest{OrderID: "o-1"}, status{}); err != nil {
		return err
	}
	if err := say(ctx, d, "billing.quote", quoteRequest{SKU: "A1", Quantity: 2}, quote{}); err != nil {
		return err
	}
	return say(ctx, d, "orders.status", statusRequest{OrderID: "o-999999"}, status{})
}

// say calls an endpoint and tells question and answer.
func say[Req, Res any](ctx context.Context, d *demo, target string, request Req, _ Res) error {
	began := time.Now()
	d.sum.Calls++
	result, err := service.Call[Res](ctx, d.client, target, request)
	took := float64(time.Since(began).Microseconds()) / 1000
	if err != nil && service.CodeOf(err) != service.CodeNotFound {
		return err
	}
	if err != nil {
		d.tell.say("%s %s -> the error %s, which a caller can tell from others", target, compact(request), service.CodeOf(err))
		return nil
	}
	d.tell.say("%s %s -> %s in %.1f ms", target, compact(request), compact(result), took)
	return nil
}

func (d *demo) showPanic(ctx context.Context) error {
	d.tell.step("A handler panics")
	placed, err := d.orders.till.order(ctx, 1, orderPlaced{Simulate: "panic"})
	if err != nil {
		return err
	}
	p := placed[0]
	began := time.Now()
	if err := d.ledger.bell.await(ctx, func() bool { return d.ledger.of(billing, p.event).panicked > 0 }); err != nil {
		return err
	}
	d.tell.say("billing panics on order %s: the panic is caught, the process lives, the event is retried", p.orderID)
	if err := d.awaitPaid(ctx, placed); err != nil {
		return err
	}
	r := d.ledger.of(billing, p.event)
	d.tell.say("attempt %d, %.1f s later, succeeds on %s", r.attempt, time.Since(began).Seconds(), strings.Join(r.by, ", "))
	return nil
}

func (d *demo) showKill(ctx context.Context) error {
	d.tell.step("A process is killed")
	burst, err := d.orders.till.order(ctx, d.pace.burst, orderPlaced{})
	if err != nil {
		return err
	}
	victim := d.alive()[0]
	if err := d.ledger.bell.await(ctx, func() bool { return len(d.ledger.runningOn(victim.instance)) > 0 }); err != nil {
		return err
	}
	if err := victim.kill(); err != nil {
		return err
	}
	killed := time.Now()
	d.sum.Kills++
	orphans := d.ledger.runningOn(victim.instance)
	d.tell.say("kill -9 %d: %s dies while it works on %s", victim.cmd.Process.Pid, victim.instance, count(len(orphans), "order"))
	next, err := d.replace(ctx, 1, billingBroken)
	if err != nil {
		return err
	}
	d.tell.say("%s takes its place, process %d", next[0].instance, next[0].cmd.Process.Pid)
	for _, id := range orphans {
		if err := d.ledger.bell.await(ctx, func() bool { return d.ledger.of(billing, id).handled > 0 }); err != nil {
			return err
		}
	}
	if err := d.awaitPaid(ctx, burst); err != nil {
		return err
	}
	d.tell.say("%.1f s after the kill all are handled by the others (AckWait is %s here, 30s by default)",
		time.Since(killed).Seconds(), ackWait)
	return nil
}

func (d *demo) showPoison(ctx context.Context) error {
	d.tell.step("An order is poisoned")
	placed, err := d.orders.till.order(ctx, 1, orderPlaced{Currency: "JPY"})
	if err != nil {
		return err
	}
	p := placed[0]
	var letter *deadletter.Letter
	err = d.books.bell.await(ctx, func() bool {
		letter = d.books.letter(billing, p.event.id)
		return letter != nil
	})
	if err != nil {
		return err
	}
	d.tell.say("order %s is in yen, which billing %s does not know: %d attempts fail", p.orderID, billingBroken, letter.Attempts)
	d.tell.say("it becomes dead letter %d: group %s, reason %s, %s", letter.Sequence, letter.Group, letter.Reason, letter.Error)
	if err := d.pauseToRead(ctx); err != nil {
		return err
	}
	return d.showFix(ctx, placed, letter)
}

func (d *demo) showFix(ctx context.Context, placed []placed, letter *deadletter.Letter) error {
	d.tell.step("The fix is deployed, the dead letter replayed")
	old := d.alive()
	fixed, err := d.replace(ctx, len(old), billingFixed)
	if err != nil {
		return err
	}
	if err := stopAll(old); err != nil {
		return err
	}
	d.tell.say("billing %s knows the yen: %s start, %s drain and stop", billingFixed, names(fixed), names(old))
	letters, err := deadletter.New(d.js, deadletter.Config{Logger: d.log})
	if err != nil {
		return err
	}
	replayed, err := letters.ReplayOne(ctx, letter.Sequence)
	if err != nil {
		return err
	}
	d.sum.Replayed++
	d.tell.say("dead letter %d is replayed to group %s alone, through %s", letter.Sequence, letter.Group, replayed.Stream)
	if err := d.awaitPaid(ctx, placed); err != nil {
		return err
	}
	r := d.ledger.of(billing, placed[0].event)
	d.tell.say("%s handles it: same event id, %s", strings.Join(r.by, ", "), count(r.replays, "replay"))
	return nil
}

func names(all []*process) string {
	list := make([]string, 0, len(all))
	for _, p := range all {
		list = append(list, p.instance)
	}
	return strings.Join(list, " and ")
}
