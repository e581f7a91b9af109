package inbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/connection"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
)

// Inbox runs this process's share of the entities. Run, once at a time, does
// the work; all methods are safe for concurrent use.
type Inbox struct {
	js       jetstream.JetStream
	nc       *nats.Conn
	cfg      Config
	ns       subject.Namespace
	subjects subject.Inbox
	codec    envelope.Codec // of outputs
	handlers map[string]*Handler
	state    stateType
	zero     []byte // the encoding of a zero state

	running atomic.Bool
	engine  atomic.Pointer[engine] // of the latest Run
}

// New validates an inbox with its handlers. It starts nothing and asks the
// server nothing. Errors wrap ErrConfig or say which name or type is not valid.
func New(js jetstream.JetStream, cfg Config, handlers ...Handler) (*Inbox, error) {
	if js == nil {
		return nil, fmt.Errorf("inbox: JetStream is nil: %w", ErrConfig)
	}
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	if cfg.Instance == "" {
		cfg.Instance = strings.ToLower(rand.Text()[:12])
	}
	in := &Inbox{js: js, nc: js.Conn(), cfg: cfg, ns: subject.Namespace(cfg.Namespace), handlers: make(map[string]*Handler, len(handlers))}
	in.subjects = in.ns.Inbox(cfg.Name)
	codec, err := cfg.Codecs.For("application/json")
	if err != nil {
		return nil, fmt.Errorf("inbox: %s: field Codecs: %w", cfg.Name, err)
	}
	in.codec = codec
	for i := range handlers {
		if err := in.add(&handlers[i]); err != nil {
			return nil, fmt.Errorf("inbox: %s: handler of %s: %w", cfg.Name, handlers[i].typ, err)
		}
	}
	if len(handlers) == 0 {
		return nil, fmt.Errorf("inbox: %s has no handler: %w", cfg.Name, ErrConfig)
	}
	if in.zero, err = in.encode(in.state.cell("")); err != nil {
		return nil, fmt.Errorf("inbox: %s: encode a zero state of type %s: %w", cfg.Name, in.state.of, err)
	}
	return in, nil
}

func (in *Inbox) add(h *Handler) error {
	switch {
	case h.err != nil:
		return h.err
	case h.run == nil:
		return fmt.Errorf("made without On or Answer: %w", ErrConfig)
	case in.handlers[h.typ] != nil:
		return fmt.Errorf("two handlers for one type: %w", ErrConfig)
	case in.state.of != nil && in.state.of != h.state.of:
		return fmt.Errorf("its state is %s, that of the others %s: an inbox has one type of state: %w", h.state.of, in.state.of, ErrConfig)
	}
	in.state = h.state
	in.handlers[h.typ] = h
	return nil
}

// Run works until ctx ends, then drains: running handlers finish, what they did
// is committed, the partitions are handed over. It returns nil after a clean
// stop, ErrRunning if it runs already, and else what made it stop: streams that
// cannot be made or are not as declared (ErrPartitions). Run may be called again
// once it has returned.
func (in *Inbox) Run(ctx context.Context) error { return in.RunReady(ctx, func() {}) }

// RunReady is Run, and calls ready once the instance has its lease and takes
// partitions. It makes an Inbox a supervise.ReadyRunner.
func (in *Inbox) RunReady(ctx context.Context, ready func()) error {
	if !in.running.CompareAndSwap(false, true) {
		return fmt.Errorf("inbox: %s: %w", in.cfg.Name, ErrRunning)
	}
	defer in.running.Store(false)
	e, err := in.prepare(ctx)
	if err == nil {
		in.engine.Store(e)
		err = e.run(ctx, ready)
	} else if ctx.Err() != nil {
		return nil // told to stop before it had begun
	}
	if err != nil {
		return fmt.Errorf("inbox: %s: %w", in.cfg.Name, err)
	}
	return nil
}

// prepare provisions, and waits for a broker that is away, starts, or elects a
// leader: a program may start before its broker does.
func (in *Inbox) prepare(ctx context.Context) (*engine, error) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		e, err := newEngine(ctx, in)
		if err == nil || ctx.Err() != nil || in.nc.IsClosed() || !connection.Unavailable(err) {
			return e, err
		}
		in.cfg.Logger.WarnContext(ctx, "the broker cannot serve the inbox yet; trying again", "inbox", in.cfg.Name, "error", err)
		if !pause(ctx, wait) {
			return nil, ctx.Err()
		}
	}
}

// Instance is the name of this process in leases and cursors.
func (in *Inbox) Instance() string { return in.cfg.Instance }

// Owned returns the partitions that this instance runs now, each with its
// epoch.
func (in *Inbox) Owned() map[int]uint64 {
	if e := in.engine.Load(); e != nil {
		return e.owned()
	}
	return nil
}

// encode gives the bytes of the state within a cell.
func (in *Inbox) encode(cell any) ([]byte, error) {
	if in.state.stateless {
		return nil, nil
	}
	return in.cfg.Codec.Encode(in.state.pointer(cell))
}

// raw makes the event of a payload.
func (in *Inbox) raw(p envelope.Payload) (raw envelope.Raw, err error) {
	defer func() {
		// A nil pointer whose methods have value receivers panics when asked.
		if r := recover(); r != nil {
			err = fmt.Errorf("payload panicked when asked for its type and key (%v): %w", r, envelope.ErrPayload)
		}
	}()
	if p == nil {
		return raw, fmt.Errorf("payload is nil: %w", envelope.ErrPayload)
	}
	raw.Type, raw.Key, raw.DataContentType = p.EventType(), envelope.KeyOf(p), in.codec.ContentType()
	if raw.Data, err = in.codec.Encode(p); err != nil {
		return raw, fmt.Errorf("encode: %w", err)
	}
	return raw, nil
}

// outRest is the subject of an event within the namespace and without its first
// token: what follows in the subject of an output.
func (in *Inbox) outRest(typ, key string) (string, error) {
	s, err := subject.Namespace("").Event(typ, key)
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(s, "events."), nil
}

// maxMessage is the greatest size of an output with its headers: what the
// server takes, less room for the headers of a dead letter.
func (in *Inbox) maxMessage() int {
	limit := in.nc.MaxPayload()
	if limit <= 0 {
		return 1 << 20
	}
	return int(limit - min(envelope.HeaderHeadroom, limit/8))
}

func tokenOf(key string) string { return subject.EntityToken(key) }

// pause waits, and reports false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// isCode tells whether err is the server's with one of the codes.
func isCode(err error, codes ...jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	for _, c := range codes {
		if api.ErrorCode == c {
			return true
		}
	}
	return false
}
