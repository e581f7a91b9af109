package presence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// DefaultTTL is how long a lease lives without a renewal; half of it is when to
// renew.
const DefaultTTL = 3 * time.Second

// Config says which bucket.
type Config struct {
	// Name of the bucket, before its namespace. Required.
	Name        string
	Description string
	Namespace   subject.Namespace
	// TTL of leases, in whole seconds. Default 3 s.
	TTL time.Duration
	// Bind makes nothing: a bucket that is not there is an error.
	Bind bool
	// Replicas of a bucket that is made; 0 means 3 on a cluster that has them,
	// else 1.
	Replicas int
	// Durability of a bucket that is made. Leases do not need to survive
	// anything, but a bucket in memory is gone with its server.
	Durability stream.Durability
	// Logger is told how a bucket differs from its shape. Default
	// slog.Default().
	Logger *slog.Logger
}

// Bucket is a set of leases. It is safe for concurrent use.
type Bucket struct {
	js      jetstream.JetStream
	nc      *nats.Conn
	str     jetstream.Stream
	name    string // with its namespace
	ttl     time.Duration
	api     string // prefix of requests to JetStream
	put     string // subject of a key when it is written, before the key
	subject string // as it is stored, before the key
}

// Open finds the bucket, or makes it. It answers [stream.ErrMissing] if it may
// make none, [ErrTTL] for a time to live that the server cannot keep, and else
// the server's error.
func Open(ctx context.Context, js jetstream.JetStream, cfg Config) (*Bucket, error) {
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTTL
	}
	name := cfg.Namespace.Stream(cfg.Name)
	if cfg.TTL < time.Second || cfg.TTL%time.Second != 0 {
		return nil, fmt.Errorf("bucket %s: %w, not %s", name, ErrTTL, cfg.TTL)
	}
	provisioner := &stream.Provisioner{JS: js, Replicas: cfg.Replicas, Durability: cfg.Durability, Bind: cfg.Bind, Logger: cfg.Logger}
	shape := stream.Leases(cfg.Namespace, cfg.Name, cfg.Description)
	if err := provisioner.Ensure(ctx, shape); err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	str, err := js.Stream(ctx, shape.Name)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: look up: %w", name, err)
	}
	b := &Bucket{js: js, nc: js.Conn(), str: str, name: name, ttl: cfg.TTL, subject: stream.KVSubject(name, "")}
	b.api, b.put = js.Options().APIPrefix, b.subject
	if domain := js.Options().Domain; domain != "" {
		b.api = "$JS." + domain + ".API."
	}
	if b.api == "" {
		b.api = jetstream.DefaultAPIPrefix
	}
	if !strings.HasSuffix(b.api, ".") {
		b.api += "."
	}
	// As clients' buckets do it: through another domain or account, a write is
	// addressed like a request to JetStream.
	if b.api != jetstream.DefaultAPIPrefix {
		b.put = b.api + b.subject
	}
	return b, nil
}

// Name is the bucket's, with its namespace.
func (b *Bucket) Name() string { return b.name }

// TTL is how long a lease lives without a renewal.
func (b *Bucket) TTL() time.Duration { return b.ttl }

// Get returns what the bucket knows of a key. Its State is [Absent] if that is
// nothing. It may be a few milliseconds behind on a cluster, where any replica
// answers.
func (b *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	if err := checkKey(key); err != nil {
		return Entry{}, err
	}
	m, err := b.str.GetLastMsgForSubject(ctx, b.subject+key)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Entry{Key: key, State: Absent}, nil
	case err != nil:
		return Entry{}, fmt.Errorf("bucket %s: read %s: %w", b.name, key, err)
	}
	return entryOf(key, m.Header, m.Data, m.Sequence, m.Time), nil
}

// List returns the keys that are held and match the filter, a key with
// wildcards such as "billing.*" or ">", in the order of their revisions.
func (b *Bucket) List(ctx context.Context, filter string) ([]Entry, error) {
	all, err := b.All(ctx, filter)
	if err != nil {
		return nil, err
	}
	held := all[:0]
	for _, e := range all {
		if e.State == Held {
			held = append(held, e)
		}
	}
	return held, nil
}

// All is List with the keys that were released or have expired lately.
func (b *Bucket) All(ctx context.Context, filter string) ([]Entry, error) {
	all, err := b.scan(ctx, filter)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: list %s: %w", b.name, filter, err)
	}
	return all, nil
}

// checkKey refuses what would be another subject than meant, or none.
func checkKey(key string) error {
	for token := range strings.SplitSeq(key, ".") {
		if token == "" || strings.ContainsAny(token, "*> \t\r\n\x00") {
			return fmt.Errorf("key %.100q: %w", key, ErrKey)
		}
	}
	if len(key) > subject.MaxLen {
		return fmt.Errorf("key %.100q… has %d bytes: %w", key, len(key), ErrKey)
	}
	return nil
}
