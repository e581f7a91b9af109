package fleetlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

const (
	// bufferSize is how many records wait for the server: some 300 kB, and a
	// day of what a healthy instance has to say.
	bufferSize = 1024

	attemptTimeout = time.Second
	retryMin       = 100 * time.Millisecond
	retryMax       = 5 * time.Second
	// flushTimeout bounds what is stored after Run was told to end.
	flushTimeout = time.Second
)

// Config says who writes.
type Config struct {
	Namespace subject.Namespace
	// Service and Instance are whom a record is about that does not say.
	Service, Instance string
	// Bind makes no stream.
	Bind bool
	// Replicas of a stream that is made; 0 means 3 on a cluster that has them.
	Replicas int
	// Durability of a stream that is made.
	Durability stream.Durability
	// Logger is told of records that were lost. Default slog.Default().
	Logger *slog.Logger
}

// Writer writes to the fleet log. It is safe for concurrent use, and its methods
// may be called on a nil one, which writes nothing.
type Writer struct {
	js  jetstream.JetStream
	cfg Config

	mu      sync.Mutex
	waiting []Record
	lost    uint64 // for want of room, or refused
	told    uint64 // of these, in the log
	wake    chan struct{}
}

// NewWriter makes a writer, and starts nothing: [Writer.Run] stores what it is
// given.
func NewWriter(js jetstream.JetStream, cfg Config) *Writer {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Writer{js: js, cfg: cfg, wake: make(chan struct{}, 1)}
}

// Write takes a record and returns at once. It may be called at any time, also
// while no Run goes on.
func (w *Writer) Write(r Record) {
	if w == nil {
		return
	}
	r = r.complete(w.cfg.Service, w.cfg.Instance)
	w.mu.Lock()
	if len(w.waiting) < bufferSize {
		w.waiting = append(w.waiting, r)
	} else {
		w.lost++
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Lost is how many records were lost: the buffer was full, or the server
// refuses them.
func (w *Writer) Lost() uint64 {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// Run stores records until ctx ends, then for one more second what is left. It
// is to be run by a supervisor, and returns nil: what cannot be stored now is
// tried again, however long that takes.
func (w *Writer) Run(ctx context.Context) error {
	retry := retryMin
	for ctx.Err() == nil {
		err := w.flush(ctx)
		w.tell()
		if err == nil {
			retry = retryMin
			select {
			case <-w.wake:
			case <-ctx.Done():
			}
			continue
		}
		wait := time.NewTimer(retry)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
		retry = min(2*retry, retryMax)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := w.flush(last); err != nil {
		w.abandon(err)
	}
	w.tell()
	return nil
}

// flush stores what waits, in order, up to the first that the server does not
// take now.
func (w *Writer) flush(ctx context.Context) error {
	for {
		w.mu.Lock()
		if len(w.waiting) == 0 {
			w.waiting = nil
			w.mu.Unlock()
			return nil
		}
		r := w.waiting[0]
		w.mu.Unlock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := w.store(ctx, r); err != nil {
			return err
		}
		w.mu.Lock()
		w.waiting = w.waiting[1:]
		w.mu.Unlock()
	}
}

// store stores one record. An error says that it should be tried again.
func (w *Writer) store(ctx context.Context, r Record) error {
	m, err := r.message(w.cfg.Namespace)
	if err != nil {
		w.refuse(r, err)
		return nil
	}
	err = w.publish(ctx, m)
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api) && api.Code >= 400 && api.Code < 500 && api.Code != http.StatusTooManyRequests,
		errors.Is(err, nats.ErrMaxPayload), errors.Is(err, stream.ErrMissing):
		w.refuse(r, err)
		return nil
	}
	return err
}

func (w *Writer) publish(ctx context.Context, m *nats.Msg) error {
	if !w.js.Conn().IsConnected() {
		return nats.ErrDisconnected
	}
	// To the end, also when ctx ends meanwhile: a request that was sent is
	// carried out, whoever waits for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	_, err := w.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	if !errors.Is(err, jetstream.ErrNoStreamResponse) {
		return err
	}
	// Nobody takes the subject: there is no stream yet, or it has no leader.
	p := &stream.Provisioner{JS: w.js, Replicas: w.cfg.Replicas, Durability: w.cfg.Durability, Bind: w.cfg.Bind, Logger: w.cfg.Logger}
	if err := p.Ensure(ctx, stream.Fleet(w.cfg.Namespace)); err != nil {
		return err
	}
	_, err = w.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	return err
}

func (w *Writer) refuse(r Record, err error) {
	w.cfg.Logger.Warn("a record of the fleet log was lost", "kind", r.Kind, "object", r.Object, "error", err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost, w.told = w.lost+1, w.told+1
}

// abandon gives up what waits at the end of Run.
func (w *Writer) abandon(err error) {
	w.mu.Lock()
	n := len(w.waiting)
	w.lost, w.told = w.lost+uint64(n), w.told+uint64(n)
	w.waiting = nil
	w.mu.Unlock()
	w.cfg.Logger.Warn("records of the fleet log were lost at the end", "records", n, "error", fmt.Errorf("not stored: %w", err))
}

// tell logs what was lost since it was last told.
func (w *Writer) tell() {
	w.mu.Lock()
	n := w.lost - w.told
	w.told = w.lost
	w.mu.Unlock()
	if n > 0 {
		w.cfg.Logger.Warn("records of the fleet log were lost: the server does not take them", "records", n)
	}
}
