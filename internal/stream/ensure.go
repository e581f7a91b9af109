package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrMissing reports a stream that does not exist where nothing may be made.
var ErrMissing = errors.New("stream does not exist")

// Error codes of the server that nats.go has no sentinel for.
const (
	codeReplicasNotClustered jetstream.ErrorCode = 10074 // replicas > 1 not supported in non-clustered mode
	codeNoPeers              jetstream.ErrorCode = 10005 // no suitable peers for placement
	codeInsufficient         jetstream.ErrorCode = 10023 // insufficient resources
)

// Provisioner makes missing streams. It is safe for concurrent use.
type Provisioner struct {
	JS jetstream.JetStream
	// Replicas of new streams; 0 means 3 on a cluster that has them, else 1.
	Replicas int
	// Durability of new streams. A found stream that falls short of it is
	// reported.
	Durability Durability
	// Bind makes nothing: a missing stream is ErrMissing.
	Bind bool
	// Logger is told how a stream differs from its shape. Nil means
	// slog.Default().
	Logger *slog.Logger
}

func (p *Provisioner) logger() *slog.Logger {
	if p.Logger == nil {
		return slog.Default()
	}
	return p.Logger
}

// Ensure finds or makes the streams, in order: a stream stands after those it
// sources. It reports, by the logger, how one that it finds differs.
func (p *Provisioner) Ensure(ctx context.Context, shapes ...jetstream.StreamConfig) error {
	for _, shape := range shapes {
		shape = p.Durability.Stream(shape)
		if err := p.ensure(ctx, shape); err != nil {
			return fmt.Errorf("stream %s: %w", shape.Name, err)
		}
	}
	return nil
}

func (p *Provisioner) ensure(ctx context.Context, shape jetstream.StreamConfig) error {
	found, err := p.JS.Stream(ctx, shape.Name)
	switch {
	case err == nil:
		p.report(ctx, shape, found.CachedInfo().Config)
		return nil
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("look up: %w", err)
	case p.Bind:
		return fmt.Errorf("%w and may not be made here (Provision is false): natsctl apply makes it", ErrMissing)
	}
	return p.create(ctx, shape)
}

func (p *Provisioner) create(ctx context.Context, shape jetstream.StreamConfig) error {
	shape.Replicas = p.replicas()
	made, err := p.JS.CreateStream(ctx, shape)
	if err != nil && p.Replicas == 0 && shape.Replicas > 1 && tooFewPeers(err) {
		p.logger().WarnContext(ctx, "stream is made with one replica: the cluster has no three servers for it", "stream", shape.Name)
		shape.Replicas = 1
		made, err = p.JS.CreateStream(ctx, shape)
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		// Another process made it between our look and our create.
		found, lookErr := p.JS.Stream(ctx, shape.Name)
		if lookErr == nil {
			p.report(ctx, shape, found.CachedInfo().Config)
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("create: %w", Full(err))
	}
	p.reportDurability(ctx, shape.Name, shape.Metadata, made.CachedInfo().Config)
	return nil
}

func tooFewPeers(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	return api.ErrorCode == codeReplicasNotClustered || api.ErrorCode == codeNoPeers || api.ErrorCode == codeInsufficient
}

// report tells how a stream that was found, and is used as it is, differs.
func (p *Provisioner) report(ctx context.Context, want, have jetstream.StreamConfig) {
	want.Replicas = p.Replicas
	p.reportDurability(ctx, want.Name, want.Metadata, have)
	for _, d := range Drift(want, have) {
		p.logger().WarnContext(ctx, "stream differs from its declared shape and is used as it is",
			"stream", want.Name, "field", d.Field, "declared", d.Declared, "actual", d.Actual)
	}
}

// reportDurability tells where a stream does not keep what is declared.
func (p *Provisioner) reportDurability(ctx context.Context, name string, declared map[string]string, have jetstream.StreamConfig) {
	want, _ := Declared(declared)
	for _, d := range want.Lacks(have) {
		p.logger().WarnContext(ctx, "stream does not give the durability that is declared",
			"stream", name, "durability", want.String(), "field", d.Field, "needed", d.Declared, "actual", d.Actual,
			"do", Remedy(name, d.Field))
	}
	recorded, ok := Declared(have.Metadata)
	if want == PowerSafe && (!ok || recorded != PowerSafe) {
		p.logger().InfoContext(ctx, "stream does not say in its metadata that PowerSafe is declared, so no tool checks it for that: natsctl apply records it",
			"stream", name, "key", MetaDurability, "recorded", have.Metadata[MetaDurability])
	}
}

// Bucket finds or makes a key-value bucket. It reports, by the logger, where
// one does not give the durability that is declared.
func (p *Provisioner) Bucket(ctx context.Context, shape jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	shape = p.Durability.Bucket(shape)
	kv, err := p.bucket(ctx, shape)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", shape.Bucket, err)
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: look up: %w", shape.Bucket, err)
	}
	if s, ok := status.(*jetstream.KeyValueBucketStatus); ok {
		info := s.StreamInfo()
		p.reportDurability(ctx, info.Config.Name, shape.Metadata, info.Config)
	}
	return kv, nil
}

func (p *Provisioner) bucket(ctx context.Context, shape jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	kv, err := p.JS.KeyValue(ctx, shape.Bucket)
	switch {
	case err == nil:
		return kv, nil
	case !errors.Is(err, jetstream.ErrBucketNotFound):
		return nil, fmt.Errorf("look up: %w", err)
	case p.Bind:
		return nil, fmt.Errorf("%w and may not be made here (Provision is false): natsctl apply makes it", ErrMissing)
	}
	shape.Replicas = p.replicas()
	kv, err = p.JS.CreateKeyValue(ctx, shape)
	if err != nil && p.Replicas == 0 && shape.Replicas > 1 && tooFewPeers(err) {
		shape.Replicas = 1
		kv, err = p.JS.CreateKeyValue(ctx, shape)
	}
	if errors.Is(err, jetstream.ErrBucketExists) {
		kv, err = p.JS.KeyValue(ctx, shape.Bucket)
	}
	if err != nil {
		return nil, fmt.Errorf("create: %w", Full(err))
	}
	return kv, nil
}

// replicas of what is made: 3 in a cluster unless told otherwise.
func (p *Provisioner) replicas() int {
	switch {
	case p.Replicas != 0:
		return p.Replicas
	case p.JS.Conn().ConnectedClusterName() != "":
		return DefaultReplicas
	}
	return 1
}
