package consume

import (
	"github.com/agner-go/agner/internal/declare"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// Declaration is what a program needs of the server: streams, buckets and
// durables. Its JSON is the input of `natsctl apply`, which makes them for
// programs that may not (Provision false).
type Declaration = declare.Declaration

// Declaration says what the group needs. It asks the server nothing.
func (c *Consumer) Declaration() Declaration {
	ns := subject.Namespace(c.cfg.Namespace)
	d := declare.New(ns)
	d.Service = c.cfg.Group
	p := c.provisioner()
	d.Provides(p, shapes(ns, c.cfg.Group)...)
	d.ProvidesBucket(p, stream.Positions(ns))
	for _, s := range c.subs {
		main := mainDurable(ns, c.cfg, s)
		s.start.apply(&main.config)
		for _, durable := range []*durable{main, laneDurable(ns, c.cfg, s)} {
			d.Durables = append(d.Durables, declare.Durable{Stream: durable.stream, Config: durable.config})
		}
	}
	return d
}
