package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/presence"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/pkg/envelope"
)

// engine is one Run of an Inbox.
type engine struct {
	in  *Inbox
	nc  *nats.Conn
	log *slog.Logger

	server server

	mailStream, stateStream, eventsStream string
	mailCreated, stateCreated             int64  // creation of the streams
	mailID                                string // what the ids of messages begin with
	eventsOrigin, stateOrigin             string // names of the sources in cursors

	bucket    *presence.Bucket
	committer *committer
	relay     *relay
	counters  counters
	values    values
	born      time.Time

	// base is the context of all that outlives Run's own until the drain is
	// over.
	base context.Context //nolint:containedctx // of the run as a whole, not of a call
	stop context.CancelFunc

	held atomic.Int64 // states that are not committed yet, of all runs

	bell chan struct{}
	mu   sync.Mutex
	runs map[int]*run
}

// values are header values shared by all messages.
type values struct {
	rollup, one, version []string
}

// counters of one engine.
type counters struct {
	messages, commits, commitTime, resolved, fenced atomic.Int64
	failed, dead, skipped, relayed                  atomic.Int64
	claimed, released, hung                         atomic.Int64
}

// newEngine makes what is missing and looks at what is there.
func newEngine(ctx context.Context, in *Inbox) (*engine, error) {
	e := &engine{
		in: in, nc: in.nc, log: in.cfg.Logger.With("inbox", in.cfg.Name, "instance", in.cfg.Instance),
		server:     newServer(in.js, newLink(in.nc)),
		mailStream: stream.InboxName(in.ns, in.cfg.Name), stateStream: stream.StateName(in.ns, in.cfg.Name),
		eventsStream: in.ns.Stream(stream.EventsName),
		values:       values{rollup: []string{rollupSubject}, one: []string{"1"}},
		born:         time.Now(), bell: make(chan struct{}, 1), runs: make(map[int]*run),
	}
	if in.cfg.StateVersion > 0 {
		e.values.version = []string{strconv.Itoa(in.cfg.StateVersion)}
	}
	if err := in.provisioner().Ensure(ctx, in.shapes()...); err != nil {
		return nil, err
	}
	if err := e.look(ctx); err != nil {
		return nil, err
	}
	if err := e.source(ctx); err != nil {
		return nil, err
	}
	var err error
	e.bucket, err = presence.Open(ctx, in.js, presence.Config{
		Name: leasesName, Description: leasesDescription, Namespace: in.ns,
		TTL: in.cfg.LeaseTTL, Bind: !in.cfg.provision(), Replicas: in.cfg.Replicas, Logger: in.cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	e.committer, e.relay = newCommitter(e), newRelay(e)
	return e, nil
}

// leasesName is the bucket of the leases of all inboxes' instances.
const (
	leasesName        = "AGNER_INBOXES"
	leasesDescription = "Agner: instances of inboxes"
)

// look reads what must be known of the streams, and checks the partitions.
func (e *engine) look(ctx context.Context) error {
	created := make([]int64, 3)
	names := []string{e.mailStream, e.stateStream, e.eventsStream}
	for i, name := range names {
		s, err := e.in.js.Stream(ctx, name)
		if err != nil {
			return fmt.Errorf("stream %s: look up: %w", name, err)
		}
		created[i] = s.CachedInfo().Created.UnixNano()
		if i > 0 {
			continue
		}
		t, want := s.CachedInfo().Config.SubjectTransform, e.in.subjects.Partitioned(e.in.cfg.Partitions)
		if t == nil || t.Destination != want {
			have := "none"
			if t != nil {
				have = t.Destination
			}
			return fmt.Errorf("stream %s: %w: its transform is %s, this program's %s: set Config.Partitions to what it was made with", name, ErrPartitions, have, want)
		}
	}
	e.mailCreated, e.stateCreated = created[0], created[1]
	e.mailID = fmt.Sprintf("%s:%s:", e.mailStream, strconv.FormatInt(e.mailCreated/int64(time.Millisecond), 36))
	e.stateOrigin = originName(e.stateStream, created[1])
	e.eventsOrigin = originName(e.eventsStream, created[2])
	return nil
}

// originName names a source in cursors: a stream that was made anew is another.
func originName(name string, created int64) string {
	return name + "@" + strconv.FormatInt(created/int64(time.Millisecond), 36)
}

// originOf tells which source brought a message, and its sequence there.
func (e *engine) originOf(h nats.Header) (origin string, seq uint64) {
	v := h["Nats-Stream-Source"]
	if len(v) == 0 {
		return "", 0
	}
	name, rest, _ := strings.Cut(v[0], " ")
	name, _, _ = strings.Cut(name, ":")
	number, _, _ := strings.Cut(rest, " ")
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return "", 0
	}
	switch name {
	case e.stateStream:
		return e.stateOrigin, seq
	case e.eventsStream:
		return e.eventsOrigin, seq
	}
	return "", 0
}

// run works until ctx ends, then drains.
func (e *engine) run(ctx context.Context, ready func()) error {
	e.base, e.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer e.stop()
	var background sync.WaitGroup
	background.Go(func() { e.server.link.watch(e.base) })
	background.Go(func() { e.committer.run(e.base) })
	background.Go(func() { e.relay.run(e.base) })
	background.Go(func() { e.trim(e.base) })
	o := newOwner(e)
	err := o.run(ctx, ready)
	e.stop()
	background.Wait()
	return err
}

// wake makes the owner look at once.
func (e *engine) wake() {
	select {
	case e.bell <- struct{}{}:
	default:
	}
}

// clock is the engine's own, in nanoseconds, never 0.
func (e *engine) clock() int64 { return int64(time.Since(e.born)) + 1 }

func (e *engine) owned() map[int]uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make(map[int]uint64, len(e.runs))
	for p, r := range e.runs {
		out[p] = r.at.Epoch // fixed for a run
	}
	return out
}

func (e *engine) snapshot() []*run {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]*run, 0, len(e.runs))
	for _, r := range e.runs {
		out = append(out, r)
	}
	return out
}

// cacheShare is how many entities one partition may keep in memory.
func (e *engine) cacheShare() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.in.cfg.CachedEntities / max(len(e.runs), 1)
}

// crowded tells whether so many states wait for commits that a partition must not
// add another to those of its own that wait: they cannot leave memory. Two batches
// at least, so that one can grow while the other is stored.
func (e *engine) crowded() bool {
	return e.held.Load() >= int64(2*max(e.in.cfg.CachedEntities, maxBatch))
}

// claim takes a partition: the compare-and-set of its cursor to the next epoch
// refuses every commit of whoever had it. busy tells whether the cursor says
// that another live instance runs it.
func (e *engine) claim(ctx context.Context, part int, busy func(owner string) bool) (*run, error) {
	subj := e.in.subjects.Cursor(part)
	m, err := e.server.last(ctx, e.stateStream, subj)
	if err != nil {
		return nil, err
	}
	var before cursor
	var seq uint64
	if m != nil {
		if before, err = decodeCursor(m.data); err != nil {
			return nil, err
		}
		seq = m.seq
	}
	if before.Owner != "" && before.Owner != e.in.cfg.Instance && busy(before.Owner) {
		return nil, errBusy
	}
	next := before.claimed(e.in.cfg.Instance, e.mailCreated)
	claimed, err := e.server.publishBatch(ctx, []*nats.Msg{{
		Subject: subj,
		Header:  nats.Header{headerExpected: {strconv.FormatUint(seq, 10)}, headerRollup: e.values.rollup},
		Data:    next.encode(),
	}})
	if err != nil {
		return nil, fmt.Errorf("claim partition %d: %w", part, err)
	}
	return e.newRun(part, next, claimed), nil
}

var errBusy = errors.New("another live instance runs the partition")

// message makes an output of a handler's event: what it lacks is filled in.
func (c *call) message(e *envelope.Raw) (*nats.Msg, error) {
	if e.ID == "" {
		e.ID = c.id + ":" + strconv.Itoa(len(c.outs)+1)
	}
	if e.Source == "" {
		e.Source = c.in.cfg.Source
	}
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	if c.event != nil {
		if e.CausationID == "" {
			e.CausationID = c.event.ID
		}
		if e.CorrelationID == "" {
			e.CorrelationID = c.event.CorrelationID
			if e.CorrelationID == "" {
				e.CorrelationID = c.event.ID
			}
		}
	}
	return envelope.Marshal(e)
}
