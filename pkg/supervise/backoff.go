package supervise

import (
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	defaultBackoffMin    = 100 * time.Millisecond
	defaultBackoffMax    = 30 * time.Second
	defaultBackoffFactor = 2
	defaultBackoffJitter = 0.5
)

// Backoff is the delay between the end of a child and its restart. It grows
// with each failure in a row and falls back once the child has stayed up.
// OTP has none, which lets a child that fails at once burn its supervisor's
// whole budget within milliseconds.
type Backoff struct {
	// Min is the first delay, default 100 ms.
	Min time.Duration
	// Max is the greatest delay, default 30 s.
	Max time.Duration
	// Factor multiplies the delay after each failure, default 2; at least 1.
	Factor float64
	// Jitter is the part of the delay that is random, default 0.5: a delay d
	// is drawn from [d*(1-Jitter), d]. At most 1; negative means none.
	Jitter float64
	// Reset is how long a child must have been up for the next delay to be Min
	// again. Default: the supervisor's Period.
	Reset time.Duration
}

// over fills the zero fields of b from base.
func (b Backoff) over(base Backoff) Backoff {
	if b.Min == 0 {
		b.Min = base.Min
	}
	if b.Max == 0 {
		b.Max = max(base.Max, b.Min)
	}
	if b.Factor == 0 {
		b.Factor = base.Factor
	}
	if b.Jitter == 0 {
		b.Jitter = base.Jitter
	}
	if b.Reset == 0 {
		b.Reset = base.Reset
	}
	return b
}

func (b Backoff) check() error {
	switch {
	case b.Min < 0 || b.Max < b.Min:
		return fmt.Errorf("backoff: Min %v and Max %v must be 0 <= Min <= Max", b.Min, b.Max)
	case !(b.Factor >= 1): // also NaN
		return fmt.Errorf("backoff: Factor %v is less than 1", b.Factor)
	case !(b.Jitter <= 1):
		return fmt.Errorf("backoff: Jitter %v is more than 1", b.Jitter)
	case b.Reset < 0:
		return fmt.Errorf("backoff: Reset %v is negative", b.Reset)
	default:
		return nil
	}
}

// delay returns the delay after the given number of earlier failures in a row.
func (b Backoff) delay(failures int) time.Duration {
	d := float64(b.Min)
	for range failures {
		if d *= b.Factor; d >= float64(b.Max) {
			d = float64(b.Max)
			break
		}
	}
	return b.jittered(time.Duration(d))
}

func (b Backoff) jittered(d time.Duration) time.Duration {
	if b.Jitter <= 0 || d <= 0 {
		return d
	}
	part := float64(d) * b.Jitter
	return d - time.Duration(rand.Float64()*part) //nolint:gosec // spreading restarts needs no secrecy
}
