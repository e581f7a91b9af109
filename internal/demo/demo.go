package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/embedded"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/pkg/service"
)

// Config configures a demo.
type Config struct {
	// Fast tells the story in seconds, without pauses to read.
	Fast bool
	// Exit ends after the story; otherwise the shop stays open until the
	// context ends.
	Exit bool
	// Seed makes the orders' amounts repeatable.
	Seed uint64
	// Story receives the text.
	Story io.Writer
	// Bold emphasises a title. Default: not at all.
	Bold func(string) string
	// Tool is how the reader calls this program: "natsctl".
	Tool string
	// Billing is the command that ends in RunBilling; the flags --server,
	// --instance, --release and --fast are appended.
	Billing []string
	// Log receives what server and services log. Default: it is discarded.
	Log io.Writer
}

// Summary is what a demo came to.
type Summary struct {
	Balance
	Replayed  int     `json:"replayed"`
	Services  int     `json:"services"`
	Instances int     `json:"instances"` // that ever ran
	Calls     int     `json:"calls"`
	Panics    int     `json:"panics"`
	Crashes   int     `json:"crashes"` // of a child that its supervisor restarted
	Kills     int     `json:"kills"`
	Seconds   float64 `json:"seconds"`
	Seed      uint64  `json:"seed"`
}

// demo is one run.
type demo struct {
	cfg    Config
	pace   pace
	tell   *narrator
	srv    *embedded.Server
	log    *slog.Logger
	js     jetstream.JetStream
	nc     *nats.Conn // the story's own
	client *service.Client

	ledger *Ledger
	books  *Books
	orders *ordersShop
	notify *notifyShop

	billing []*process // all that were ever started, in order
	failed  chan error // what should not have ended and did
	sum     Summary
}

// Run tells the story until it ends, or ctx does, then waits until all is
// settled and returns the books. The summary is valid also with an error that
// came after the shop had opened.
func Run(ctx context.Context, cfg Config) (Summary, error) {
	if cfg.Bold == nil {
		cfg.Bold = func(s string) string { return s }
	}
	log := slog.New(slog.DiscardHandler)
	if cfg.Log != nil {
		log = slog.New(slog.NewTextHandler(cfg.Log, nil))
	}
	began := time.Now()
	srv, err := embedded.Start(embedded.Config{Name: "agner-demo", Logger: log})
	if err != nil {
		return Summary{}, err
	}
	d := &demo{
		cfg: cfg, pace: paceFor(cfg.Fast), srv: srv, log: log,
		tell:   &narrator{w: cfg.Story, bold: cfg.Bold, began: began},
		ledger: NewLedger(), failed: make(chan error, 1),
		sum: Summary{Seed: cfg.Seed, Services: 3},
	}
	err = d.run(ctx)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	err = errors.Join(err, srv.Shutdown(stop))
	d.sum.Seconds = time.Since(began).Round(time.Millisecond).Seconds()
	return d.sum, err
}

// run opens the shop, lives through the story and closes it again.
func (d *demo) run(ctx context.Context) (err error) {
	// Everything that runs beside the story outlives its context: the books
	// are closed while the shop is still open.
	open, shut := context.WithCancelCause(context.WithoutCancel(ctx))
	running := &background{}
	defer func() {
		err = errors.Join(err, d.stopBilling())
		shut(nil)
		err = errors.Join(err, running.wait())
		if d.nc != nil {
			d.nc.Close()
		}
	}()
	if err := d.connect(open); err != nil {
		return err
	}
	d.banner()
	if err := d.openShop(ctx, open, running); err != nil {
		return ignoreEnd(ctx, err)
	}
	story, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-d.failed:
			cancel(err)
		case <-story.Done():
		}
	}()
	running.start(func() error { return ignoreEnd(open, d.reportOutside(open)) })
	err = d.story(story)
	if err == nil && !d.cfg.Exit {
		err = d.stayOpen(story)
	}
	return errors.Join(ignoreEnd(ctx, err), d.closeBooks(context.WithoutCancel(ctx)))
}

// ignoreEnd drops an error that comes of the end of ctx: the reader wanted it.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err())) {
		return nil
	}
	return err
}

func (d *demo) connect(ctx context.Context) error {
	var err error
	if d.nc, err = service.Connect(ctx, d.srv.URL(), nats.Name("demo story")); err != nil {
		return err
	}
	if d.js, err = jetstream.New(d.nc); err != nil {
		return err
	}
	d.books = NewBooks(d.js)
	shapes := &stream.Provisioner{JS: d.js, Logger: d.log}
	if err := shapes.Ensure(ctx, stream.Scheduled(""), stream.Events(""), stream.Dead("")); err != nil {
		return err
	}
	d.client, err = service.NewClient(d.nc, service.ClientConfig{})
	return err
}

func (d *demo) banner() {
	d.tell.text(fmt.Sprintf(`%s: an order shop on an embedded NATS server with JetStream

  server    %s, on this machine only
  store     %s, removed at the end
  services  orders   --order.placed-->  billing  --payment.captured-->  notify, orders

  Look at it from another terminal:
    export NATS_URL=%s
    %s tail
    %s services

  Ctrl-C closes the books at any time.`, d.cfg.Bold("Agner demo"), d.srv.URL(), d.srv.StoreDir(), d.srv.URL(), d.cfg.Tool, d.cfg.Tool))
}

// background is what runs beside the story.
type background struct {
	n    int
	errs chan error
}

func (b *background) start(f func() error) {
	if b.errs == nil {
		b.errs = make(chan error, 16)
	}
	b.n++
	go func() { b.errs <- f() }()
}

func (b *background) wait() error {
	var all []error
	for range b.n {
		all = append(all, <-b.errs)
	}
	return errors.Join(all...)
}
