package inbox

import (
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/declare"
	"github.com/agner-go/agner/internal/stream"
)

// Declaration is what a program needs of the server: streams, buckets and
// durables. Its JSON is the input of `natsctl apply`, which makes them for
// programs that may not (Provision false).
type Declaration = declare.Declaration

// Declaration says what the inbox needs. It asks the server nothing.
func (in *Inbox) Declaration() Declaration {
	d := declare.New(in.ns)
	d.Service = in.cfg.Name
	d.Provides(in.provisioner(), in.shapes()...)
	d.Provides(in.provisioner(), stream.Leases(in.ns, leasesName, leasesDescription))
	return d
}

// shapes are the streams of the inbox, each after those it sources.
func (in *Inbox) shapes() []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		stream.Scheduled(in.ns), stream.Events(in.ns), stream.Dead(in.ns),
		stream.State(in.ns, in.cfg.Name), stream.Inbox(in.ns, in.cfg.Name, in.cfg.Partitions),
	}
}

func (in *Inbox) provisioner() *stream.Provisioner {
	return &stream.Provisioner{
		JS: in.js, Replicas: in.cfg.Replicas, Durability: in.cfg.Durability, Bind: !in.cfg.provision(), Logger: in.cfg.Logger,
	}
}
