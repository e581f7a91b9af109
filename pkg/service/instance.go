package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/presence"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// Instance is one instance of a service, as it has registered itself.
type Instance struct {
	Service string `json:"service"`
	ID      string `json:"instance"`
	// Incarnation names this registration: a process that was declared down and
	// comes back has another one, as has another process of the same id.
	Incarnation string            `json:"incarnation"`
	State       State             `json:"state"`
	Version     string            `json:"version"`
	Host        string            `json:"host,omitempty"`
	PID         int               `json:"pid,omitempty"`
	Started     time.Time         `json:"started,omitzero"`
	Load        float64           `json:"load"` // of its places that are taken: 0 to 1, and more if requests wait
	Endpoints   []string          `json:"endpoints,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	// Seen is its last renewal, by the server's clock.
	Seen time.Time `json:"seen,omitzero"`
}

// ChangeKind says what a [Change] is.
type ChangeKind string

// Kinds of changes.
const (
	Up      ChangeKind = "up"      // is registered
	Changed ChangeKind = "changed" // says something else of itself, such as its state
	Down    ChangeKind = "down"    // is gone
)

// DownReason says how an instance went.
type DownReason string

// Reasons of a Down.
const (
	ReasonGoodbye  DownReason = "goodbye"  // it ended in good order
	ReasonExpired  DownReason = "expired"  // it was killed, hangs, or is cut off
	ReasonReplaced DownReason = "replaced" // another incarnation stands in its place
	ReasonUnknown  DownReason = "unknown"  // it is not there, and nothing is known of how it went
)

// Change is one change of the fleet.
type Change struct {
	Kind     ChangeKind `json:"kind"`
	Instance Instance   `json:"instance"`         // as last known, with Down
	Reason   DownReason `json:"reason,omitempty"` // with Down
}

// Instances returns the instances of a service that are up, in whatever state,
// of all services if the name is empty. An instance that was killed is among
// them for up to its TTL. The error is the server's, or the context's.
func Instances(ctx context.Context, c *Client, service string) ([]Instance, error) {
	b, filter, err := c.instances(ctx, service)
	switch {
	case errors.Is(err, stream.ErrMissing):
		return nil, nil // nobody has ever registered
	case err != nil:
		return nil, fmt.Errorf("service: instances: %w", err)
	}
	entries, err := b.List(ctx, filter)
	if err != nil {
		return nil, fmt.Errorf("service: instances: %w", err)
	}
	all := make([]Instance, 0, len(entries))
	for _, e := range entries {
		all = append(all, instanceOf(e))
	}
	return all, nil
}

// Watch yields the changes of a service's instances, of all services if the
// name is empty: first an Up for each that is up, then whatever happens, until
// ctx ends.
//
// A goodbye is told at once, a crash within the TTL and one second, each once.
// Nothing is decided by what a subscription brings: before an instance is told
// to be down its entry was read, and after an outage of the server the
// instances get twice the TTL to come back, so that an outage or an election
// declares nobody dead.
//
// An error of the first read ends it; after that it rides out lost connections.
func Watch(ctx context.Context, c *Client, service string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		b, filter, err := c.instances(ctx, service)
		for errors.Is(err, stream.ErrMissing) && sleep(ctx, bucketEvery) {
			b, filter, err = c.instances(ctx, service)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			yield(Change{}, fmt.Errorf("service: watch: %w", err))
			return
		}
		for change, err := range b.Watch(ctx, filter) {
			if err != nil {
				err = fmt.Errorf("service: watch: %w", err)
			}
			if !yield(changeOf(change), err) {
				return
			}
		}
	}
}

// bucketEvery is how often a watch looks for the bucket, which the first
// instance makes.
const bucketEvery = 500 * time.Millisecond

// Monitor waits until an instance is down, and returns that one change. It
// means the incarnation that i names, whatever was found out about it before;
// without one, whoever has the id now. If that one is gone already, it returns
// at once: with what the server remembers of how it went, for ten minutes, else
// with [ReasonUnknown] or, if another stands in its place, [ReasonReplaced].
//
// It holds also over an absence of this process: when that comes back, it finds
// out. The error is the context's, or that of the first read.
func Monitor(ctx context.Context, c *Client, i Instance) (Change, error) {
	fail := func(err error) error { return fmt.Errorf("service: monitor %s %s: %w", i.Service, i.ID, err) }
	for _, err := range []error{subject.CheckName("service", i.Service), checkToken("instance", i.ID)} {
		if err != nil {
			return Change{}, fail(err)
		}
	}
	gone := Change{Kind: Down, Instance: i, Reason: ReasonUnknown}
	b, _, err := c.instances(ctx, i.Service)
	switch {
	case errors.Is(err, stream.ErrMissing):
		return gone, nil
	case err != nil:
		return Change{}, fail(err)
	}
	key := instanceKey(i.Service, i.ID)
	known := presence.Entry{Key: key, State: presence.Held, Lease: i.Incarnation}
	if i.Incarnation == "" {
		if known, err = settled(ctx, b, key); err != nil {
			return Change{}, fail(err)
		}
	}
	switch known.State {
	case presence.Released:
		gone.Reason = ReasonGoodbye
		return gone, nil
	case presence.Expired:
		gone.Reason = ReasonExpired
		return gone, nil
	case presence.Absent:
		return gone, nil
	case presence.Held:
	}
	for change, err := range b.Watch(ctx, key, known) {
		if err != nil {
			return Change{}, fail(err)
		}
		if change.Kind != presence.Down {
			continue
		}
		down := changeOf(change)
		if down.Instance.State == "" { // never seen alive
			down.Instance = i
		}
		return down, nil
	}
	return Change{}, fail(context.Cause(ctx))
}

// settled reads a key, and one that has expired until it is sure that the
// holder does not resume it after an outage of the server.
func settled(ctx context.Context, b *presence.Bucket, key string) (presence.Entry, error) {
	for until := time.Now().Add(2 * b.TTL()); ; {
		e, err := b.Get(ctx, key)
		if err != nil || e.State != presence.Expired || time.Now().After(until) {
			return e, err
		}
		if !sleep(ctx, bucketEvery) {
			return e, context.Cause(ctx)
		}
	}
}

// instances opens the bucket, once for each client.
func (c *Client) instances(ctx context.Context, service string) (*presence.Bucket, string, error) {
	filter := "*.*" // not the observer's lease, whose key is one token
	if service != "" {
		if err := subject.CheckName("service", service); err != nil {
			return nil, "", err
		}
		filter = instanceKey(service, "*")
	}
	if b := c.bucket.Load(); b != nil {
		return b, filter, nil
	}
	js, err := jetstream.New(c.nc)
	if err != nil {
		return nil, "", err
	}
	b, err := presence.Open(ctx, js, presence.Config{Name: stream.InstancesName, Namespace: c.ns, Bind: true})
	if err != nil {
		return nil, "", err
	}
	c.bucket.Store(b)
	return b, filter, nil
}

func instanceKey(service, instance string) string { return service + "." + instance }

// instanceOf reads an entry. Who and which it is says the key, for which there
// are permissions.
func instanceOf(e presence.Entry) Instance {
	var r record
	if json.Unmarshal(e.Value, &r) != nil {
		r = record{} // somebody else's idea of a record
	}
	service, id, _ := strings.Cut(e.Key, ".")
	return Instance{
		Service: service, ID: id, Incarnation: e.Lease, State: r.State, Version: r.Version, Host: r.Host, PID: r.PID,
		Started: r.Started, Load: r.Load, Endpoints: r.Endpoints, Metadata: r.Metadata, Seen: e.Time,
	}
}

func changeOf(c presence.Change) Change {
	return Change{Kind: ChangeKind(c.Kind), Instance: instanceOf(c.Entry), Reason: DownReason(c.Reason)}
}
