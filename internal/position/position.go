package position

import (
	"maps"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// Position is what the bucket keeps of a durable. Part of the wire.
type Position struct {
	// Created is the creation time of the stream, ns since 1970: a floor means
	// nothing on a stream that was made anew.
	Created int64 `json:"stream_created"`
	// Floor is the last stream sequence up to which everything is settled.
	Floor uint64 `json:"floor"`
	// Generation is raised by a reset, which alone may lower the floor.
	Generation uint64 `json:"generation"`
}

// Resume changes the start of a durable that is made again: behind the saved
// floor; from the oldest event if the stream is another one by now, since all
// that it holds came later.
func (p Position) Resume(c *jetstream.ConsumerConfig, created int64) {
	p.Mark(c)
	c.OptStartSeq, c.OptStartTime = 0, nil
	if p.Created != created {
		c.DeliverPolicy = jetstream.DeliverAllPolicy
		return
	}
	c.DeliverPolicy = jetstream.DeliverByStartSequencePolicy
	c.OptStartSeq = p.Floor + 1
}

// Mark writes the generation into the metadata of a durable.
func (p Position) Mark(c *jetstream.ConsumerConfig) {
	if p.Generation == GenerationOf(*c) {
		return
	}
	c.Metadata = maps.Clone(c.Metadata)
	if c.Metadata == nil {
		c.Metadata = map[string]string{}
	}
	c.Metadata[stream.MetaReset] = strconv.FormatUint(p.Generation, 10)
}

// GenerationOf reads the generation that a durable was set to.
func GenerationOf(c jetstream.ConsumerConfig) uint64 {
	g, _ := strconv.ParseUint(c.Metadata[stream.MetaReset], 10, 64) // 0 if it was never reset
	return g
}
