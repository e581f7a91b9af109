package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// stayOpen keeps the shop open until ctx ends, with lines to try.
func (d *demo) stayOpen(ctx context.Context) error {
	d.tell.step("The shop stays open")
	t := d.cfg.Tool
	url := d.srv.URL()
	d.tell.text(fmt.Sprintf(`          Orders from outside are handled too. In another terminal:

            export NATS_URL=%s
            %s publish %s --data '{"order_id":"mine-1","cents":700}'
            printf '{"order_id":"f-%%d","cents":100}\n' 1 2 3 | %s publish %s
            %s call orders.status '{"order_id":"mine-1"}'
            %s tail --since 1m --type 'shop.payment.>' --count 3
            %s publish %s --data '{"order_id":"bad","currency":"ZWD"}'

            nats pub events.%s.mine-2 '{"order_id":"mine-2","cents":700}' \
              -H ce-specversion:1.0 -H ce-id:mine-2 -H ce-source:/me -H ce-type:%s
            nats service ls
            nats stream view DEAD

          Ctrl-C closes the books.
`, url, t, typeOrderPlaced, t, typeOrderPlaced, t, t, t, typeOrderPlaced, typeOrderPlaced, typeOrderPlaced))
	<-ctx.Done()
	return context.Cause(ctx)
}

// settleWithin bounds the wait at the end for what is still under way.
const settleWithin = 20 * time.Second

// closeBooks ends the orders, waits until all is settled, and tells the books.
func (d *demo) closeBooks(ctx context.Context) error {
	d.tell.step("The books")
	if d.orders != nil {
		d.orders.till.close()
	}
	settling, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	balance, err := d.books.Settle(settling, d.ledger)
	if err != nil {
		return fmt.Errorf("close the books: %w", err)
	}
	d.sum.Balance = balance
	d.sum.Panics = d.ledger.panicCount()
	d.tell.say("What handlers recorded, held against what stands in the streams EVENTS and DEAD:")
	d.tell.text(d.table())
	d.tell.text(d.verdict())
	return nil
}

func (d *demo) table() string {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "          GROUP\tEVENTS\tHANDLED\tDEAD\tPENDING\tLOST\tDUPLICATES")
	for _, name := range []string{billing, notify, orders} {
		g := d.sum.Groups[name]
		fmt.Fprintf(tw, "          %s\t%d\t%d\t%d\t%d\t%d\t%d\n", name, g.Events, g.Handled, g.Dead, g.Pending, g.Lost, g.Duplicates)
	}
	_ = tw.Flush() // a strings.Builder takes everything
	return b.String()
}

func (d *demo) verdict() string {
	s := d.sum
	text := fmt.Sprintf("\n%d events published, %d handled by every group, %d lost, %d duplicates",
		s.Published, s.Handled, s.Lost, s.Duplicates)
	var more []string
	add := func(n int, text string) {
		if n > 0 {
			more = append(more, fmt.Sprintf("%d %s", n, text))
		}
	}
	add(s.Outside, "from outside")
	add(s.Unsubscribed, "of types that nobody handles")
	add(s.Pending, "still pending")
	add(s.Standing, "as dead letters")
	add(s.Replayed, "replayed from the dead letters")
	if len(more) > 0 {
		text += " (" + strings.Join(more, ", ") + ")"
	}
	return text + "."
}

// Intervals of the report on events from outside, and how many it names.
const (
	outsideEvery = 500 * time.Millisecond
	outsideNamed = 5
)

// reportOutside tells of events that others have published, once they are
// handled or dead.
func (d *demo) reportOutside(ctx context.Context) error {
	tick := time.NewTicker(outsideEvery)
	defer tick.Stop()
	var seen int
	var waiting []booked
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		fresh := d.books.from(seen)
		seen += len(fresh)
		for _, e := range fresh {
			if e.outside() {
				waiting = append(waiting, e)
			}
		}
		var handled, dead []string
		waiting = slices.DeleteFunc(waiting, func(e booked) bool {
			o := d.outcome(&e)
			switch {
			case o.open:
			case o.dead:
				dead = append(dead, o.text)
			default:
				handled = append(handled, o.text)
			}
			return !o.open
		})
		d.tellOutside(handled)
		d.tellOutside(dead)
	}
}

func (d *demo) tellOutside(texts []string) {
	if len(texts) <= outsideNamed {
		for _, text := range texts {
			d.tell.note("from outside: %s", text)
		}
		return
	}
	d.tell.note("from outside: %s; and %d more like it", texts[0], len(texts)-1)
}

// outcome is what became of an event from outside.
type outcome struct {
	text string
	open bool // it is not known yet
	dead bool // in some group
}

func (d *demo) outcome(e *booked) outcome {
	name := fmt.Sprintf("message %d", e.seq)
	if e.valid {
		name = fmt.Sprintf("%s, id %.40s", e.typ, e.id.id)
	}
	groups := groupsOf(e.typ)
	if len(groups) == 0 {
		return outcome{text: name + ": stored; no group subscribes to it"}
	}
	var o outcome
	by := make([]string, 0, len(groups))
	for _, group := range groups {
		if r := d.ledger.of(group, e.id); e.valid && r.handled > 0 {
			by = append(by, "handled by "+r.by[len(r.by)-1])
			continue
		}
		l := d.books.letterAt(group, e.seq)
		if l == nil {
			return outcome{open: true}
		}
		o.dead = true
		by = append(by, fmt.Sprintf("dead letter %d of group %s (%s): %.120s", l.Sequence, group, l.Reason, l.Error))
	}
	o.text = name + ": " + strings.Join(by, ", ")
	return o
}

// compact is a value as JSON on one line.
func compact(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
