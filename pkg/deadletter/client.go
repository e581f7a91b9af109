package deadletter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// DedupWindow is the time within which an interrupted replay can be run again
// without doubling: the retry lane knows the message ids for so long.
const DedupWindow = stream.RetryDedupWindow

// Config of a Client. Its zero value is right outside a namespace.
type Config struct {
	// Namespace is that of the groups and streams. Default: none.
	Namespace string

	// Concurrency is how many letters are replayed, discarded or read at once;
	// those of one key stay in order. Default 16.
	Concurrency int

	// Record is told of each replay and discard, before the first letter is
	// touched and after the last. If it fails before, nothing is done; a failure
	// afterwards is the error of the operation. Default: a line of the Logger.
	Record func(ctx context.Context, a Act) error

	// Logger gets what an operator should know. Default slog.Default().
	Logger *slog.Logger
}

// DefaultConcurrency is Config.Concurrency's.
const DefaultConcurrency = 16

// Client reads, replays and discards the dead letters of one namespace. It is
// safe for concurrent use.
type Client struct {
	js      jetstream.JetStream
	ns      subject.Namespace
	workers int
	record  func(ctx context.Context, a Act) error
}

// New checks the configuration; it asks the server nothing. The error matches
// ErrConfig.
func New(js jetstream.JetStream, cfg Config) (*Client, error) {
	c := &Client{js: js, ns: subject.Namespace(cfg.Namespace), workers: cfg.Concurrency, record: cfg.Record}
	if err := c.ns.Check(); err != nil {
		return nil, fmt.Errorf("dead letters: %w: %w", ErrConfig, err)
	}
	if cfg.Concurrency < 0 {
		return nil, fmt.Errorf("dead letters: Concurrency must be at least 1: %w", ErrConfig)
	}
	if c.workers == 0 {
		c.workers = DefaultConcurrency
	}
	if c.record == nil {
		c.record = logged(cfg.Logger)
	}
	return c, nil
}

// dead looks up the stream of dead letters. While no group has made it, there
// are no letters: the error then matches jetstream.ErrStreamNotFound.
func (c *Client) dead(ctx context.Context) (jetstream.Stream, error) {
	name := c.ns.Stream(stream.DeadName)
	dead, err := c.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	return dead, nil
}

// Get returns the dead letter with a sequence of the stream DEAD. The error
// matches ErrNotFound or ErrLetter, or is the server's.
func (c *Client) Get(ctx context.Context, seq uint64) (*Letter, error) {
	dead, err := c.dead(ctx)
	if err != nil {
		return nil, err
	}
	return c.get(ctx, dead, seq)
}

func (c *Client) get(ctx context.Context, dead jetstream.Stream, seq uint64) (*Letter, error) {
	m, err := dead.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, fmt.Errorf("dead letter %d: %w: it was replayed or discarded, or is older than %s keeps them: %w",
			seq, ErrNotFound, dead.CachedInfo().Config.Name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("dead letter %d: %w", seq, err)
	}
	return Parse(m)
}

// Act is a replay or a discard, for the record.
type Act struct {
	Verb    string    `json:"verb"` // replay or discard
	Filter  Filter    `json:"filter"`
	Done    int       `json:"done"`    // letters, so far
	Skipped int       `json:"skipped"` // as above
	First   []uint64  `json:"letters"` // the first 100 that were done
	Over    bool      `json:"over"`    // false before the first letter
	Err     error     `json:"-"`       // that ended it early
	At      time.Time `json:"at"`
}

// Verbs of an Act.
const (
	VerbReplay  = "replay"
	VerbDiscard = "discard"
)

const maxActLetters = 100

// add counts a result.
func (a *Act) add(r *Result) {
	if r.Skipped != nil {
		a.Skipped++
		return
	}
	a.Done++
	if len(a.First) < maxActLetters {
		a.First = append(a.First, r.Letter.Sequence)
	}
}

func logged(log *slog.Logger) func(context.Context, Act) error {
	return func(ctx context.Context, a Act) error {
		l := log
		if l == nil {
			l = slog.Default()
		}
		if !a.Over {
			l.InfoContext(ctx, "dead letters: "+a.Verb+" begins", "filter", a.Filter.String())
			return nil
		}
		l.InfoContext(ctx, "dead letters: "+a.Verb+" is over", "filter", a.Filter.String(),
			"done", a.Done, "skipped", a.Skipped, "letters", a.First, "error", a.Err)
		return nil
	}
}

// once keeps the answers of look-ups that many letters share.
type once[V any] struct {
	mu    sync.Mutex
	known map[string]V
}

// get asks at most one question at a time: sixteen workers begin with the same.
func (o *once[V]) get(key string, ask func() (V, bool)) V {
	o.mu.Lock()
	defer o.mu.Unlock()
	if v, ok := o.known[key]; ok {
		return v
	}
	v, keep := ask()
	if keep {
		if o.known == nil {
			o.known = map[string]V{}
		}
		o.known[key] = v
	}
	return v
}
