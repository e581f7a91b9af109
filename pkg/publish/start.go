package publish

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// start makes the first use: the reply subscription and the streams. It runs
// until it has succeeded once, and again after a publish has failed for want of
// a stream; a publish that finds it running waits.
func (p *Publisher) start(ctx context.Context) error {
	if p.ready.Load() {
		return nil
	}
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	select {
	case p.starting <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("waiting for the first use to find its streams: %w", ctxErr(ctx))
	case <-p.closing:
		return ErrClosed
	}
	defer func() { <-p.starting }()
	if p.ready.Load() {
		return nil
	}
	if err := p.waitConnected(ctx); err != nil {
		return err
	}
	if err := p.subscribe(ctx); err != nil {
		return err
	}
	if p.provisions() {
		if p.missed.Swap(false) {
			p.cfg.Logger.WarnContext(ctx, "no stream listened on the subject of an event: finding or making the streams again")
		}
		if err := p.provision(ctx); err != nil {
			return err
		}
	}
	p.ready.Store(true)
	return nil
}

func (p *Publisher) provisions() bool { return p.cfg.Provision == nil || *p.cfg.Provision }

func (p *Publisher) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, p.cfg.RetryFor)
}

func (p *Publisher) waitConnected(ctx context.Context) error {
	changed := p.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer p.nc.RemoveStatusListener(changed)
	for {
		if p.nc.IsClosed() {
			return nats.ErrConnectionClosed
		}
		if p.nc.IsConnected() {
			return nil
		}
		select {
		case <-changed:
		case <-p.closing:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("%w (connection is %v): %w", nats.ErrDisconnected, p.nc.Status(), ctxErr(ctx))
		}
	}
}

// inboxLen is how many characters of base 32 make an inbox unguessable: 80 bits.
const inboxLen = 16

// subscribe opens the one subscription for all replies. Its prefix cannot be
// guessed, so nobody else can forge an acknowledgement.
func (p *Publisher) subscribe(ctx context.Context) error {
	p.mu.Lock()
	sub, closed := p.sub, p.closed
	p.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if sub != nil {
		return nil
	}
	prefix := strings.TrimSuffix(nats.InboxPrefix, ".")
	if own := p.nc.Opts.InboxPrefix; own != "" {
		prefix = own
	}
	inbox := prefix + "." + rand.Text()[:inboxLen] + "."
	sub, err := p.nc.Subscribe(inbox+"*", p.onReply)
	if err != nil {
		return fmt.Errorf("subscribe to replies: %w", err)
	}
	// A server that refuses the subscription says so before it answers the
	// ping of the flush.
	if err := p.nc.FlushWithContext(ctx); err != nil {
		_ = sub.Unsubscribe() // the flush's error is the one that matters
		return fmt.Errorf("subscribe to replies: %w", err)
	}
	if err := p.nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), inbox) {
		_ = sub.Unsubscribe()
		return fmt.Errorf("%w: subscribe to %s.>: set the connection's inbox prefix, or allow it: %w", ErrPermission, prefix, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = sub.Unsubscribe()
		return ErrClosed
	}
	p.inbox, p.sub = inbox, sub
	return nil
}

// provision finds or makes the streams, again and again while the server says
// that it cannot yet: one that has just started, or elects a leader.
func (p *Publisher) provision(ctx context.Context) error {
	pr := p.provisioner()
	before := p.nc.LastError()
	for n := int32(0); ; n++ {
		err := p.provisionOnce(ctx, pr)
		if err == nil {
			return nil
		}
		if violation := p.nc.LastError(); errors.Is(violation, nats.ErrPermissionViolation) && violation != before && strings.Contains(violation.Error(), ".API.") { //nolint:errorlint // identity tells a new one
			return fmt.Errorf("%w: find or make streams: set Provision to new(false) for an identity that may not: %w", ErrPermission, violation)
		}
		if !temporary(err) {
			return fmt.Errorf("find or make streams: %w", err)
		}
		pause := time.NewTimer(backoff(n))
		select {
		case <-pause.C:
		case <-p.closing:
			pause.Stop()
			return ErrClosed
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("find or make streams: %w: %w", ctxErr(ctx), err)
		}
	}
}

func (p *Publisher) provisionOnce(ctx context.Context, pr *stream.Provisioner) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.AckTimeout)
	defer cancel()
	if err := pr.Ensure(ctx, p.target.Shapes...); err != nil {
		return err
	}
	found, err := p.js.Stream(ctx, p.target.Stream)
	if err != nil {
		return fmt.Errorf("look up %s: %w", p.target.Stream, err)
	}
	p.resendFor.Store(int64(resendFor(found.CachedInfo().Config.Duplicates)))
	return nil
}

// resendFor is how long a publish may be sent again on a stream with that dedup
// window: shorter than it by a margin for what is under way. The streams that
// Agner makes have MaxRetryFor.
func resendFor(window time.Duration) time.Duration {
	return min(max(window, 0)-min(stream.DedupWindow-MaxRetryFor, max(window, 0)/4), MaxRetryFor)
}

// temporary tells whether a JetStream API call may succeed later.
func temporary(err error) bool {
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, context.Canceled) {
		return false
	}
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.Code == 503 && api.ErrorCode != jetstream.JSErrCodeJetStreamNotEnabledForAccount || api.Code == 429
	}
	return true
}
