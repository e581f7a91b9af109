package publish

import (
	"github.com/agner-go/agner/internal/declare"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// Declaration is what a program needs of the server: streams, buckets and
// durables. Its JSON is the input of `natsctl apply`, which makes them for
// programs that may not (Provision false).
type Declaration = declare.Declaration

// Declaration says which streams the Publisher needs. It asks the server
// nothing.
func (p *Publisher) Declaration() Declaration {
	d := declare.New(subject.Namespace(p.cfg.Namespace))
	d.Provides(p.provisioner(), p.target.Shapes...)
	return d
}

func (p *Publisher) provisioner() *stream.Provisioner {
	return &stream.Provisioner{JS: p.js, Replicas: p.cfg.Replicas, Durability: p.cfg.Durability, Logger: p.cfg.Logger}
}
