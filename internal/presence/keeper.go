package presence

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Report is what a [Keeper] tells of its entry.
type Report struct {
	Kind  ReportKind
	Lease string // that the entry has now; the one that was lost with Replaced
	// Before is what the key was: of Registered a holder that was put aside, of
	// Returned the marker of the expiry, of Replaced the holder that it has now.
	Before Entry
	// Away is for how long nothing was renewed, with Returned, Resumed and
	// Recovered.
	Away time.Duration
	Err  error // with Failing
}

// ReportKind says what happened to an entry.
type ReportKind string

const (
	// Registered is the first entry of a Run.
	Registered ReportKind = "registered"
	// Failing says that renewals began to fail; it is told once.
	Failing ReportKind = "failing"
	// Recovered says that they succeed again, before the entry expired.
	Recovered ReportKind = "recovered"
	// Resumed says that the entry expired for want of a server, was taken again
	// as soon as there was one, and that nobody was told that it was down.
	Resumed ReportKind = "resumed"
	// Returned says that the entry expired and was declared down: the process
	// was paused or cut off. It stands again, under another lease.
	Returned ReportKind = "returned"
	// Left says that the goodbye is said.
	Left ReportKind = "left"
	// Replaced says that another process has taken the key, which two of them
	// claim to be theirs. This one takes it again only when it is free.
	Replaced ReportKind = "replaced"
)

// Keeper keeps one entry alive that is its own by name.
type Keeper struct {
	// Open opens the bucket. It is tried until it succeeds.
	Open func(ctx context.Context) (*Bucket, error)
	Key  string
	// Value is what stands in the entry, asked for at each renewal.
	Value func() []byte
	// Changed has the entry renewed at once.
	Changed <-chan struct{}
	// Tell is called for each report, one at a time.
	Tell func(Report)

	bucket  *Bucket
	lease   *Lease
	aside   bool      // another process has the key
	renewed time.Time // when the last renewal was answered, by the monotonic clock
	fails   int       // attempts that failed since
	failing bool      // and that was told
	seen    bool      // registered in this Run
}

const (
	// retryAfter is when to try again after a failure, jittered: soon, for who
	// comes back first after an outage is not declared down.
	retryAfter = 200 * time.Millisecond
	// openAtMost is the longest wait for a bucket that cannot be opened: there is
	// no JetStream, or no permission.
	openAtMost = 30 * time.Second
	// attemptTimeout bounds one renewal, so that more than one fits into a TTL.
	attemptTimeout = time.Second
	// goodbyeTimeout bounds the last word.
	goodbyeTimeout = time.Second
)

// Run keeps the entry until ctx ends, then says goodbye. An outage of the
// server does not end it. It returns nil, or why the goodbye failed.
func (k *Keeper) Run(ctx context.Context) error {
	k.lease, k.aside, k.fails, k.failing, k.seen = nil, false, 0, false, false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-k.Changed:
		case <-ctx.Done():
			return k.goodbye(ctx)
		}
		timer.Reset(k.step(ctx))
	}
}

// step registers or renews, and says when to do it again.
func (k *Keeper) step(ctx context.Context) time.Duration {
	// To the end, also when ctx ends meanwhile: only an entry of which the
	// outcome is known can be said goodbye to.
	attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	err := k.attempt(attempt)
	switch {
	case ctx.Err() != nil:
		return time.Hour
	case errors.Is(err, ErrHeld):
		return k.bucket.ttl
	case err != nil:
		if k.fails++; k.fails == 2 && !k.failing { // one alone is nothing to speak of
			k.failing = true
			k.Tell(Report{Kind: Failing, Lease: k.leaseID(), Err: err})
		}
		if k.bucket == nil { // no bucket yet: nothing expires meanwhile
			wait := min(retryAfter<<min(k.fails, 10), openAtMost)
			return wait/2 + rand.N(wait/2) //nolint:gosec // jitter, not a secret
		}
		return retryAfter/2 + rand.N(retryAfter) //nolint:gosec // jitter, not a secret
	}
	late := time.Since(k.renewed) > k.bucket.ttl*4/5
	k.renewed, k.fails, k.failing = time.Now(), 0, false
	if late {
		// The server may have been about to let it expire.
		return retryAfter / 4
	}
	return k.bucket.ttl / 2
}

func (k *Keeper) attempt(ctx context.Context) (err error) {
	if k.bucket == nil {
		if k.bucket, err = k.Open(ctx); err != nil {
			k.bucket = nil
			return err
		}
	}
	if k.lease == nil {
		return k.register(ctx)
	}
	err = k.lease.Renew(ctx, k.Value())
	var lost *LostError
	switch {
	case errors.As(err, &lost):
		return k.lost(ctx, lost.Now)
	case err == nil && k.failing:
		k.Tell(Report{Kind: Recovered, Lease: k.leaseID(), Away: time.Since(k.renewed)})
	}
	return err
}

// register takes the key: at first from whoever has it, for that is an earlier
// process of this name.
func (k *Keeper) register(ctx context.Context) error {
	take := k.bucket.Seize
	if k.aside || k.seen {
		take = func(ctx context.Context, key string, value []byte) (*Lease, Entry, error) {
			l, err := k.bucket.Claim(ctx, key, value)
			return l, Entry{Key: key, State: Absent}, err
		}
	}
	lease, before, err := take(ctx, k.Key, k.Value())
	if err != nil {
		return err
	}
	k.lease, k.aside, k.seen = lease, false, true
	k.renewed = time.Now()
	k.Tell(Report{Kind: Registered, Lease: lease.ID(), Before: before})
	return nil
}

// lost finds out whether the entry's expiry was an outage of the server, of
// which nobody has drawn a conclusion, or whether it was declared down.
func (k *Keeper) lost(ctx context.Context, now Entry) error {
	if now.State == Held {
		k.Tell(Report{Kind: Replaced, Lease: k.leaseID(), Before: now})
		k.lease, k.aside = nil, true
		return &HeldError{By: now}
	}
	away := time.Since(k.renewed)
	if now.State == Expired {
		free, err := k.free(ctx, now)
		if err != nil {
			return err
		}
		if k.inTime(away, free) {
			free, err = k.lease.Resume(ctx, now, k.Value())
			if err != nil && !errors.Is(err, ErrLost) {
				return err
			}
			if err == nil && k.inTime(away, free) {
				k.Tell(Report{Kind: Resumed, Lease: k.leaseID(), Away: away})
				return nil
			}
		}
	}
	lease, before, err := k.bucket.take(ctx, k.Key, k.Value(), false)
	var held *HeldError
	switch {
	case errors.As(err, &held) && held.By.Lease == k.leaseID():
		// Resumed a moment too late: others have declared it down.
		if lease, before, err = k.bucket.Seize(ctx, k.Key, k.Value()); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	k.lease = lease
	if now.State == Expired {
		before = now
	}
	k.Tell(Report{Kind: Returned, Lease: lease.ID(), Before: before, Away: away})
	return nil
}

// free is how long ago the entry expired, by the one clock that tells: that of
// the stream's leader, which also stamped the expiry.
func (k *Keeper) free(ctx context.Context, expired Entry) (time.Duration, error) {
	info, err := k.bucket.str.Info(ctx)
	if err != nil {
		return 0, err
	}
	return info.TimeStamp.Sub(expired.Time), nil
}

// inTime tells whether watchers still wait for the return of an entry that
// expired: a moment, and longer if it expired late, because then the server
// itself was away. It is a little stricter than they are.
func (k *Keeper) inTime(away, free time.Duration) bool {
	const margin = grace / 4
	ttl := k.bucket.ttl
	late := away-free > ttl+lateness+margin
	return free < grace-margin || late && free < longGrace(ttl)-time.Second
}

func (k *Keeper) leaseID() string {
	if k.lease == nil {
		return ""
	}
	return k.lease.ID()
}

func (k *Keeper) goodbye(ctx context.Context) error {
	if k.lease == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeTimeout)
	defer cancel()
	err := k.lease.Release(ctx)
	if errors.Is(err, ErrLost) {
		return nil // whoever looks has seen it expire, or sees another
	}
	if err == nil {
		k.Tell(Report{Kind: Left, Lease: k.leaseID()})
	}
	return err
}
