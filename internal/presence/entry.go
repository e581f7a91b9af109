package presence

import (
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// State is what has become of a key.
type State string

const (
	// Held is a key with a holder.
	Held State = "held"
	// Released is a key whose holder said goodbye.
	Released State = "released"
	// Expired is a key whose holder did not renew it.
	Expired State = "expired"
	// Absent is a key of which the bucket knows nothing.
	Absent State = "absent"
)

// Entry is what a bucket knows of a key.
type Entry struct {
	Key   string
	State State
	// Value is the holder's, nil unless the key is held.
	Value []byte
	// Lease names the holder's lease; of a released key, the lease that was
	// released. An expiry, which the server writes, names none.
	Lease string
	// Revision grows with each change of the bucket.
	Revision uint64
	// Time is when this was stored, by the server's clock.
	Time time.Time
}

const (
	headerLease = "Agner-Lease"

	// Headers and values of the clients' key-value stores (ADR-8) and of the
	// server's markers (ADR-43).
	headerOperation = "KV-Operation"
	operationPurge  = "PURGE"
)

// entryOf reads what is stored under a key. A value that a person wrote with
// the nats tool is a holder without a lease; what one deletes with it counts as
// released.
func entryOf(key string, header nats.Header, data []byte, rev uint64, at time.Time) Entry {
	e := Entry{Key: key, State: Held, Lease: header.Get(headerLease), Revision: rev, Time: at}
	switch {
	case header.Get(headerOperation) != "":
		e.State = Released
	case header.Get(jetstream.MarkerReasonHeader) != "":
		e.State = Expired
	default:
		e.Value = data
	}
	return e
}
