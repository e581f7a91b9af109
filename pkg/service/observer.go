package service

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/agner-go/agner/internal/fleetlog"
	"github.com/agner-go/agner/internal/presence"
	"github.com/agner-go/agner/internal/stream"
)

// An instance that is killed cannot write into the fleet log that it is down.
// One of all instances does it for the others: the observer, which holds the
// lease of that name. Whoever takes it over reports what it finds; a report
// that two of them make is stored once.

const (
	// observerEvery is how often an instance tries to become it, jittered.
	observerEvery = 30 * time.Second
	// observerFirst bounds the wait before the first try.
	observerFirst = 5 * time.Second
)

// observe becomes the observer when there is none, until ctx ends.
func (s *Service) observe(ctx context.Context) {
	wait := rand.N(observerFirst) //nolint:gosec // jitter, not a secret
	var b *presence.Bucket        // kept: to open it is more work for the server than all the rest
	for sleep(ctx, wait) {
		wait = observerEvery/2 + rand.N(observerEvery) //nolint:gosec // as above
		if b == nil {
			opened, err := s.openInstances(ctx, true)
			if err != nil {
				continue
			}
			b = opened
		}
		if now, err := b.Get(ctx, stream.ObserverKey); err == nil && now.State == presence.Held {
			continue // there is one
		}
		lease, err := b.Claim(ctx, stream.ObserverKey, []byte(s.id.String()))
		if err != nil {
			if !errors.Is(err, presence.ErrHeld) {
				s.log.DebugContext(ctx, "presence: cannot become the observer", "error", err)
			}
			continue
		}
		s.observeAs(ctx, b, lease)
	}
}

// observeAs is the observer until the lease is lost or ctx ends.
func (s *Service) observeAs(ctx context.Context, b *presence.Bucket, lease *presence.Lease) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.report(ctx, b)
	}()
	tick := time.NewTicker(b.TTL() / 2)
	defer tick.Stop()
	began := time.Now()
	for reported := false; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			<-done
			bye, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer stop()
			if err := lease.Release(bye); err != nil {
				s.log.DebugContext(ctx, "presence: the observer's lease is left to expire", "error", err)
			}
			return
		}
		renewal, stop := context.WithTimeout(ctx, b.TTL()/2)
		err := lease.Renew(renewal, []byte(s.id.String()))
		stop()
		if errors.Is(err, presence.ErrLost) {
			cancel()
			<-done
			return
		}
		// What expired while there was no observer; not at once, for it may be
		// resumed after an outage.
		if !reported && time.Since(began) > 3*b.TTL() {
			reported = s.reportGone(ctx, b)
		}
	}
}

// report writes down who expires.
func (s *Service) report(ctx context.Context, b *presence.Bucket) {
	for sleep(ctx, 0) {
		for c, err := range b.Watch(ctx, "*.*") {
			if err == nil && c.Kind == presence.Down && c.Reason == presence.Lapsed && c.Marker.State == presence.Expired {
				s.fleet.Write(expiredRecord(c.Marker, instanceOf(c.Entry), s.id.String()))
			}
		}
		if !sleep(ctx, b.TTL()) {
			return
		}
	}
}

func (s *Service) reportGone(ctx context.Context, b *presence.Bucket) bool {
	all, err := b.All(ctx, "*.*")
	if err != nil {
		return false
	}
	for _, e := range all {
		if e.State == presence.Expired {
			s.fleet.Write(expiredRecord(e, instanceOf(e), s.id.String()))
		}
	}
	return true
}

// expiredRecord is the same, to the stream, whoever writes it.
func expiredRecord(marker presence.Entry, i Instance, by string) fleetlog.Record {
	r := downRecord(i, ReasonExpired, "down-"+marker.Time.UTC().Format(time.RFC3339Nano), by)
	r.Time = marker.Time
	return r
}

func downRecord(i Instance, reason DownReason, id, by string) fleetlog.Record {
	r := fleetlog.Record{
		Kind: fleetlog.KindDown, ID: id, Service: i.Service, Instance: i.ID, Reason: string(reason), By: by,
		Detail: map[string]string{},
	}
	for name, value := range map[string]string{"version": i.Version, "host": i.Host, "incarnation": i.Incarnation} {
		if value != "" {
			r.Detail[name] = value
		}
	}
	return r
}

// sleep waits, and tells whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
