package service

import (
	"fmt"

	"github.com/agner-go/agner/internal/declare"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/supervise"
)

// Declaration is what a program needs of the server: streams, buckets and
// durables. Its JSON is the input of `natsctl apply`, which makes them for
// programs that may not (Provision false).
type Declaration = declare.Declaration

// Declaration says what the service needs: its handlers, its publisher, and
// what was given to [Add] and has a Declaration of its own, as an inbox has. It
// asks the server nothing, so a program can print it wherever it is built:
//
//	nc, err := nats.Connect(url, nats.RetryOnFailedConnect(true)) // no server is needed
//	svc, err := service.New(nc, cfg, parts...)
//	err = json.NewEncoder(os.Stdout).Encode(svc.Declaration())
func (s *Service) Declaration() Declaration { return s.declaration }

// declare collects the declarations of all parts. Two that contradict each
// other are an error of New.
func (s *Service) declare(children []supervise.Child) error {
	ns := subject.Namespace(s.cfg.Namespace)
	d := declare.New(ns)
	d.Service, d.Version = s.id.Name, s.id.Version
	if !s.cfg.Presence.Off {
		d.Provides(&stream.Provisioner{Durability: s.cfg.Durability, Replicas: s.cfg.Publish.Replicas},
			stream.Fleet(ns), stream.Leases(ns, stream.InstancesName, instancesDescription))
	}
	parts := []Declaration{s.Publisher().Declaration()}
	if s.consumer != nil {
		parts = append(parts, s.consumer.Declaration())
	}
	for _, c := range children {
		if own, ok := c.Runner.(interface{ Declaration() Declaration }); ok {
			parts = append(parts, own.Declaration())
		}
	}
	for _, p := range parts {
		if err := d.Merge(p); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	s.declaration = d
	return nil
}
