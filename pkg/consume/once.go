package consume

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// storeOnce publishes what becomes of an event under an id that names it, so
// that a second store is dropped by the server. A reset runs events again that
// the stream has known ids of: their attempts and deaths are new ones, so the id
// names the generation too, and what is dropped under the one that we know is
// looked at again. The generation is begun before anything is delivered
// again, so that the latest one is that of the delivery or a later one.
func (l *loop) storeOnce(ctx context.Context, m *nats.Msg, id string) error {
	for {
		generation := l.generation.Load()
		m.Header[jetstream.MsgIDHeader] = []string{inGeneration(id, generation)}
		ack, err := l.js.PublishMsg(ctx, m)
		if err != nil || !ack.Duplicate {
			return stream.Full(err)
		}
		latest, err := l.positions.Latest(ctx, l.durableName)
		if err != nil || latest.Generation <= generation {
			return err
		}
		l.generation.Store(latest.Generation)
	}
}

func inGeneration(id string, generation uint64) string {
	if generation == 0 {
		return id
	}
	return id + ".g" + strconv.FormatUint(generation, 10)
}
