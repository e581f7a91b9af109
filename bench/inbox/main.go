// Command inbox measures package inbox: a backlog that is stored first and then
// handled, beside a plain durable consumer with acknowledgements, and the time
// from send to answer at a low rate.
//
//	go run ./inbox [-messages n] [-keys n] [-partitions n] [-servers 1,3] [-work backlog,durable,latency] [-rss mib] [-cpuprofile file]
//
// Each server is a process of its own with file storage; three are a cluster, on
// which all streams have three replicas. The inbox, or the consumer, runs in this
// process. Messages and states have 256 bytes. Each row is verified: the entities
// have counted their messages. With -messages 1000000 -keys 1000000 the memory
// says what a million keys cost, and -rss is what the backlog may cost at most.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/inbox"
	"github.com/agner-go/agner/pkg/publish"
)

// row is one result, printed as one JSON object.
type row struct {
	Work       string  `json:"work"`
	Messages   int     `json:"messages"`
	Keys       int     `json:"keys"`
	Seconds    float64 `json:"seconds"`
	PerSecond  float64 `json:"per_second"`
	Commits    int64   `json:"commits,omitempty"`
	P50        float64 `json:"p50_ms,omitempty"`
	P99        float64 `json:"p99_ms,omitempty"`
	ClientCPU  float64 `json:"client_cpu_us"` // for each message
	Partitions int     `json:"partitions,omitempty"`
	RSS        int64   `json:"rss_mib,omitempty"`
	PeakRSS    int64   `json:"rss_peak_mib,omitempty"` // while the backlog was handled
	Servers    int     `json:"servers"`
	Replicas   int     `json:"replicas"` // of the mailbox
}

type bench struct {
	js                         jetstream.JetStream
	messages, keys, partitions int
	out                        io.Writer
	profile                    string
	mostRSS                    int64
}

// item is a message of 256 bytes of JSON, and tally a state of as much.
type item struct {
	N   int    `json:"n"`
	Pad string `json:"pad"`
}

func (item) EventType() string { return "bench.item.v1" }

type tally struct {
	Count int    `json:"count"`
	Last  int    `json:"last"`
	Pad   string `json:"pad"`
}

type get struct{}

func (get) EventType() string { return "bench.get.v1" }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "inbox:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == serveArg {
		return serve(ctx, args[1:], os.Stdin, os.Stdout)
	}
	b := &bench{out: os.Stdout}
	works, servers := "backlog,durable,latency", "1"
	f := flag.NewFlagSet("inbox", flag.ContinueOnError)
	f.IntVar(&b.messages, "messages", 300_000, "`number` of messages in the backlog")
	f.IntVar(&b.keys, "keys", 10_000, "`number` of keys, uniform")
	f.IntVar(&b.partitions, "partitions", 64, "`number` of partitions")
	f.StringVar(&works, "work", works, "comma-separated `works`")
	f.StringVar(&servers, "servers", servers, "comma-separated `numbers` of servers")
	f.Int64Var(&b.mostRSS, "rss", 0, "`MiB` of resident memory that the backlog may take at most, 0 for any")
	f.StringVar(&b.profile, "cpuprofile", "", "`file` for a CPU profile of the backlog")
	if err := f.Parse(args); err != nil {
		return err
	}
	for number := range strings.SplitSeq(servers, ",") {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 {
			return fmt.Errorf("-servers: %q is no number of servers", number)
		}
		for work := range strings.SplitSeq(works, ",") {
			do := map[string]func(context.Context) (row, error){"backlog": b.backlog, "durable": b.durable, "latency": b.latency}[work]
			if do == nil {
				return fmt.Errorf("no work %q", work)
			}
			if err := b.sample(ctx, n, do); err != nil {
				return fmt.Errorf("%s on %d servers: %w", work, n, err)
			}
		}
	}
	return nil
}

// sample does one work on servers of its own.
func (b *bench) sample(ctx context.Context, servers int, do func(context.Context) (row, error)) error {
	url, stop, err := startServers(ctx, servers)
	if err != nil {
		return err
	}
	defer stop()
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	if b.js, err = jetstream.New(nc); err != nil {
		return err
	}
	if err := awaitServers(ctx, b.js, servers); err != nil {
		return err
	}
	r, err := do(ctx)
	if err != nil {
		return err
	}
	mailbox, err := b.js.Stream(ctx, "INBOX_bench")
	if err != nil {
		return err
	}
	r.Servers, r.Replicas = servers, mailbox.CachedInfo().Config.Replicas
	if err := json.NewEncoder(b.out).Encode(r); err != nil {
		return err
	}
	if b.mostRSS > 0 && r.PeakRSS > b.mostRSS {
		return fmt.Errorf("%d MiB were resident, at most %d are allowed", r.PeakRSS, b.mostRSS)
	}
	return nil
}

func key(i int) string { return "key-" + strconv.Itoa(i) }

func (b *bench) inbox() (*inbox.Inbox, error) {
	pad := strings.Repeat("s", 220)
	return inbox.New(b.js, inbox.Config{Name: "bench", Partitions: b.partitions, Logger: slog.New(slog.DiscardHandler)},
		inbox.On(func(_ context.Context, tx *inbox.Tx[tally], e envelope.Event[item]) error {
			tx.State.Count++
			tx.State.Last, tx.State.Pad = e.Data.N, pad
			return nil
		}),
		inbox.Answer(func(_ context.Context, tx *inbox.Tx[tally], _ get) (int, error) {
			tx.State.Count++
			return tx.State.Count, nil
		}))
}

// fill stores the backlog.
func (b *bench) fill(ctx context.Context) error {
	c, err := inbox.NewClient(b.js, "bench", inbox.WithPartitions(b.partitions),
		inbox.WithPublishConfig(publish.Config{Source: "/bench", Provision: new(true), Logger: slog.New(slog.DiscardHandler)}))
	if err != nil {
		return err
	}
	pad := strings.Repeat("m", 236)
	for i := range b.messages {
		f := c.SendAsync(ctx, key(i*7919%b.keys), item{N: i, Pad: pad})
		if i == b.messages-1 {
			if _, err := f.Wait(ctx); err != nil {
				return err
			}
		}
	}
	return c.Close(ctx)
}

// backlog stores all messages, then starts one instance and waits until all of
// them are committed.
func (b *bench) backlog(ctx context.Context) (row, error) {
	if err := b.fill(ctx); err != nil {
		return row{}, err
	}
	in, err := b.inbox()
	if err != nil {
		return row{}, err
	}
	resetPeak()
	if b.profile != "" {
		f, err := os.Create(b.profile)
		if err != nil {
			return row{}, err
		}
		defer func() { _ = f.Close() }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return row{}, err
		}
		defer pprof.StopCPUProfile()
	}
	cpu := cpuTime()
	began := time.Now()
	stop, err := b.start(ctx, in)
	if err != nil {
		return row{}, err
	}
	for in.Status().Handled < int64(b.messages) {
		if err := wait(ctx, 5*time.Millisecond); err != nil {
			return row{}, fmt.Errorf("%w: %+v", err, in.Status())
		}
	}
	took := time.Since(began)
	st := in.Status()
	used, resident, peak := cpuTime()-cpu, rss(), peakRSS()
	if err := b.verify(ctx, in); err != nil {
		return row{}, err
	}
	return row{
		Work: "inbox backlog", Messages: b.messages, Keys: b.keys, Seconds: took.Seconds(), PerSecond: float64(b.messages) / took.Seconds(),
		Commits: st.Commits, Partitions: len(st.Partitions), ClientCPU: float64(used.Microseconds()) / float64(b.messages), RSS: resident, PeakRSS: peak,
	}, stop()
}

// verify reads the entities, every hundredth of many, which all have the same
// number of messages or one more.
func (b *bench) verify(ctx context.Context, in *inbox.Inbox) error {
	least := b.messages / b.keys
	for i := 0; i < b.keys; i += max(1, b.keys/10_000) {
		s, err := inbox.Read[tally](ctx, in, key(i))
		if err != nil {
			return err
		}
		if s.Count != least && s.Count != least+1 {
			return fmt.Errorf("%s has counted %d messages, want %d", key(i), s.Count, least)
		}
	}
	return nil
}

// start runs the inbox and waits until it is ready.
func (b *bench) start(ctx context.Context, in *inbox.Inbox) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- in.RunReady(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		return nil, errors.Join(errors.New("inbox ended"), err)
	}
	return func() error {
		cancel()
		return <-done
	}, nil
}

// durable handles the same backlog by a plain durable consumer that keeps no
// state and no order: what a stateless service pays.
func (b *bench) durable(ctx context.Context) (row, error) {
	if err := b.fill(ctx); err != nil {
		return row{}, err
	}
	c, err := b.js.CreateConsumer(ctx, "INBOX_bench", jetstream.ConsumerConfig{Durable: "plain", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 4000})
	if err != nil {
		return row{}, err
	}
	var n atomic.Int64
	cpu := cpuTime()
	began := time.Now()
	sub, err := c.Consume(func(m jetstream.Msg) {
		var e item
		if json.Unmarshal(m.Data(), &e) == nil && m.Ack() == nil {
			n.Add(1)
		}
	}, jetstream.PullMaxMessages(2000))
	if err != nil {
		return row{}, err
	}
	defer sub.Stop()
	for {
		info, err := c.Info(ctx)
		if err != nil {
			return row{}, err
		}
		if n.Load() == int64(b.messages) && info.NumAckPending == 0 && info.NumPending == 0 {
			break
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return row{}, err
		}
	}
	took := time.Since(began)
	return row{
		Work: "plain durable with acks", Messages: b.messages, Keys: b.keys, Seconds: took.Seconds(), PerSecond: float64(b.messages) / took.Seconds(),
		ClientCPU: float64((cpuTime() - cpu).Microseconds()) / float64(b.messages), RSS: rss(),
	}, nil
}

// latency asks 100 entities a second and takes the time from the question to the
// answer, which comes after the commit.
func (b *bench) latency(ctx context.Context) (row, error) {
	in, err := b.inbox()
	if err != nil {
		return row{}, err
	}
	stop, err := b.start(ctx, in)
	if err != nil {
		return row{}, err
	}
	c, err := inbox.NewClient(b.js, "bench")
	if err != nil {
		return row{}, err
	}
	for len(in.Owned()) < b.partitions {
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return row{}, err
		}
	}
	const n, rate = 1000, 100
	times := make(chan time.Duration, n)
	errs := make(chan error, n)
	cpu := cpuTime()
	began := time.Now()
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for i := range n {
		<-tick.C
		go func() {
			at := time.Now()
			_, err := inbox.Ask[int](ctx, c, key(i), get{})
			times <- time.Since(at)
			errs <- err
		}()
	}
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = <-times
		if err := <-errs; err != nil {
			return row{}, err
		}
	}
	took := time.Since(began)
	slices.Sort(all)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return row{
		Work: "inbox ask at 100/s", Messages: n, Keys: n, Seconds: took.Seconds(), PerSecond: n / took.Seconds(),
		P50: ms(all[n/2]), P99: ms(all[n*99/100]), Commits: in.Status().Commits, ClientCPU: float64((cpuTime() - cpu).Microseconds()) / n, RSS: rss(),
	}, errors.Join(stop(), c.Close(ctx))
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
