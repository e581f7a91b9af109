package stream

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Durability is what acknowledged events of a stream are to survive. The
// documentation of publish.Durability, its public name, says what each means.
type Durability int

// The zero value is the default.
const (
	ProcessSafe Durability = iota
	PowerSafe
	Memory
)

// ErrDurability reports a Durability that is none of the three, or one that
// contradicts the rest of a configuration.
var ErrDurability = errors.New("durability is not valid")

// MetaDurability is the key of a stream's metadata that says what was declared
// when it was made, so that tools can hold it against what the stream has.
const MetaDurability = "agner.durability"

// powerSafeReplicas survive the loss of one server for good: the other two are
// a quorum.
const powerSafeReplicas = 3

// DefaultReplicas is how many a cluster gives that has them.
const DefaultReplicas = 3

// MaxReplicas is the server's own bound.
const MaxReplicas = 5

// String is the name by which metadata and declarations know d.
func (d Durability) String() string {
	switch d {
	case ProcessSafe:
		return "ProcessSafe"
	case PowerSafe:
		return "PowerSafe"
	case Memory:
		return "Memory"
	}
	return fmt.Sprintf("Durability(%d)", int(d))
}

// MarshalText implements encoding.TextMarshaler.
func (d Durability) MarshalText() ([]byte, error) {
	if d < ProcessSafe || d > Memory {
		return nil, fmt.Errorf("%v: %w", d, ErrDurability)
	}
	return []byte(d.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Durability) UnmarshalText(text []byte) error {
	for _, known := range []Durability{ProcessSafe, PowerSafe, Memory} {
		if string(text) == known.String() {
			*d = known
			return nil
		}
	}
	return fmt.Errorf("%.40q is none of ProcessSafe, PowerSafe, Memory: %w", text, ErrDurability)
}

// Check holds d against the number of replicas that is asked for, 0 for the
// default. The error wraps ErrDurability.
func (d Durability) Check(replicas int) error {
	if _, err := d.MarshalText(); err != nil {
		return err
	}
	if d == PowerSafe && replicas > 0 && replicas < powerSafeReplicas {
		return fmt.Errorf("%v needs %d replicas, and Replicas is %d: leave it 0 or declare ProcessSafe: %w",
			d, powerSafeReplicas, replicas, ErrDurability)
	}
	return nil
}

// Covers tells whether what has d keeps all that is promised by other.
func (d Durability) Covers(other Durability) bool { return d.rank() >= other.rank() }

func (d Durability) rank() int {
	switch d {
	case Memory:
		return 0
	case PowerSafe:
		return 2
	case ProcessSafe:
	}
	return 1
}

// Declared is the durability that a stream's metadata say was declared; false
// if they say none, as for a stream that Agner did not make.
func Declared(metadata map[string]string) (Durability, bool) {
	var d Durability
	err := d.UnmarshalText([]byte(metadata[MetaDurability]))
	return d, err == nil
}

// Stream gives a shape the storage that d needs, and records d. A shape that is
// in memory by itself stays there: what it holds is not meant to survive.
func (d Durability) Stream(shape jetstream.StreamConfig) jetstream.StreamConfig {
	shape.Storage, shape.Metadata = d.apply(shape.Storage, shape.Metadata)
	return shape
}

// Bucket is Stream for the shape of a bucket.
func (d Durability) Bucket(shape jetstream.KeyValueConfig) jetstream.KeyValueConfig {
	shape.Storage, shape.Metadata = d.apply(shape.Storage, shape.Metadata)
	return shape
}

func (d Durability) apply(storage jetstream.StorageType, metadata map[string]string) (jetstream.StorageType, map[string]string) {
	if storage == jetstream.MemoryStorage {
		d = Memory
	}
	if d == Memory {
		storage = jetstream.MemoryStorage
	}
	out := map[string]string{MetaDurability: d.String()}
	for k, v := range metadata {
		if k != MetaDurability {
			out[k] = v
		}
	}
	return storage, out
}

// Lacks lists in what a stream falls short of d: storage, persist_mode,
// replicas. What gives more than d lacks nothing. Whether the servers fsync
// before they acknowledge, which PowerSafe needs too, no ordinary account can
// see: /varz of each server says it (jetstream.config.sync_always).
func (d Durability) Lacks(have jetstream.StreamConfig) []Difference {
	if d == Memory {
		return nil
	}
	var out []Difference
	if have.Storage != jetstream.FileStorage {
		out = append(out, Difference{"storage", "file", strings.ToLower(have.Storage.String())})
	}
	if have.PersistMode != jetstream.DefaultPersistMode {
		out = append(out, Difference{"persist_mode", "default", strings.ToLower(have.PersistMode.String())})
	}
	if d == PowerSafe && have.Replicas < powerSafeReplicas {
		out = append(out, Difference{"replicas", strconv.Itoa(powerSafeReplicas), strconv.Itoa(have.Replicas)})
	}
	return out
}

// Remedy says what an operator can do about one difference of a stream.
func Remedy(stream, field string) string {
	switch field {
	case "replicas":
		return fmt.Sprintf("run the stream on three servers of a cluster: natsctl apply, or nats stream edit %s --replicas 3", stream)
	case "storage", "persist_mode", "retention":
		return "the server cannot change it in a stream that exists: make another in its place, or declare less"
	}
	return "change it with nats stream edit " + stream
}
