package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/service"
)

// startWithin bounds the start of an instance, a process on a busy machine.
const startWithin = 30 * time.Second

// openShop starts the readers of the streams and all services, and returns
// when they take events. They run until open ends.
func (d *demo) openShop(ctx, open context.Context, running *background) error {
	running.start(func() error { return d.books.Read(open) })
	var err error
	if d.orders, err = d.runOrders(open, running); err != nil {
		return err
	}
	if d.notify, err = d.runNotify(open, running); err != nil {
		return err
	}
	for range 2 {
		if _, err := d.startBilling(billingBroken); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for _, svc := range []*service.Service{d.orders.svc, d.notify.svc} {
		d.sum.Instances++
		if err := awaitReady(ctx, svc); err != nil {
			return err
		}
	}
	for _, p := range d.billing {
		if err := p.awaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) runOrders(open context.Context, running *background) (*ordersShop, error) {
	nc, err := service.Connect(open, d.srv.URL(), nats.Name("demo orders-1"))
	if err != nil {
		return nil, err
	}
	o, err := newOrders(nc, d.pace, d.cfg.Seed, d.ledger.add, d.log) //nolint:contextcheck // handlers get theirs with each request
	if err != nil {
		nc.Close()
		return nil, err
	}
	d.serve(open, running, nc, o.svc)
	return o, nil
}

func (d *demo) runNotify(open context.Context, running *background) (*notifyShop, error) {
	nc, err := service.Connect(open, d.srv.URL(), nats.Name("demo notify-1"))
	if err != nil {
		return nil, err
	}
	n, err := newNotify(nc, d.ledger.add, d.log)
	if err != nil {
		nc.Close()
		return nil, err
	}
	d.serve(open, running, nc, n.svc)
	return n, nil
}

func (d *demo) serve(open context.Context, running *background, nc *nats.Conn, svc *service.Service) {
	running.start(func() error {
		defer nc.Close()
		err := svc.Run(open)
		if open.Err() == nil {
			d.fail(fmt.Errorf("%s ended by itself: %w", svc.Instance(), err))
		}
		return err
	})
}

func (d *demo) fail(err error) {
	select {
	case d.failed <- err:
	default:
	}
}

// startBilling starts the next instance of billing.
func (d *demo) startBilling(version string) (*process, error) {
	p, err := launch(d.cfg.Billing, BillingConfig{
		Server: d.srv.URL(), Instance: fmt.Sprintf("billing-%d", len(d.billing)+1), Version: version, Fast: d.cfg.Fast,
	}, d.ledger.add, d.cfg.Log)
	if err != nil {
		return nil, err
	}
	d.billing = append(d.billing, p)
	d.sum.Instances++
	go func() {
		<-p.ended
		if !p.wanted() {
			d.fail(p.failure())
		}
	}()
	return p, nil
}

// replace starts instances of a version and waits until they take events.
func (d *demo) replace(ctx context.Context, n int, version string) ([]*process, error) {
	started := make([]*process, 0, n)
	for range n {
		p, err := d.startBilling(version)
		if err != nil {
			return nil, err
		}
		started = append(started, p)
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for _, p := range started {
		if err := p.awaitReady(ctx); err != nil {
			return nil, err
		}
	}
	return started, nil
}

// alive are the instances of billing that run.
func (d *demo) alive() []*process {
	var alive []*process
	for _, p := range d.billing {
		if !p.wanted() {
			alive = append(alive, p)
		}
	}
	return alive
}

func (d *demo) stopBilling() error {
	return stopAll(d.alive())
}

// stopAll drains instances side by side.
func stopAll(all []*process) error {
	errs := make(chan error, len(all))
	for _, p := range all {
		go func() { errs <- p.stop() }()
	}
	var joined error
	for range all {
		joined = errors.Join(joined, <-errs)
	}
	return joined
}
