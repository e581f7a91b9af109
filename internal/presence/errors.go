package presence

import (
	"errors"
	"fmt"
)

var (
	// ErrHeld reports a key that somebody holds. The error is a [HeldError].
	ErrHeld = errors.New("key is held")
	// ErrLost reports a lease that is its holder's no more: it expired, or
	// somebody took it. The error is a [LostError].
	ErrLost = errors.New("lease is lost")
	// ErrTTL reports a time to live that the server cannot keep.
	ErrTTL = errors.New("time to live must be of whole seconds, at least one")
	// ErrKey reports a key that is no key of a bucket.
	ErrKey = errors.New("key is not valid")
	// ErrOffline reports that nothing was sent, for want of a connection.
	ErrOffline = errors.New("not connected")
)

// HeldError says who holds a key. It matches [ErrHeld].
type HeldError struct{ By Entry }

func (e *HeldError) Error() string {
	return fmt.Sprintf("key %s is held, by lease %s", e.By.Key, e.By.Lease)
}

// Is matches ErrHeld.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// LostError says what has become of a lease's key. It matches [ErrLost].
type LostError struct {
	// Now is the key's entry: held by another lease, expired or released. Its
	// State is [Absent] if nothing is known of it any more.
	Now Entry
}

func (e *LostError) Error() string {
	if e.Now.State == Held {
		return fmt.Sprintf("lease on %s is lost: lease %s has the key", e.Now.Key, e.Now.Lease)
	}
	return fmt.Sprintf("lease on %s is lost: the key is %s", e.Now.Key, e.Now.State)
}

// Is matches ErrLost.
func (e *LostError) Is(target error) bool { return target == ErrLost }
