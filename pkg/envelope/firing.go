package envelope

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// headerScheduleNext is set by the server in what a schedule has published: the
// time of the next firing, or "purge" if there is none.
const headerScheduleNext = "Nats-Schedule-Next"

// FiringID gives an event that a repeated schedule has published its own id: the
// server publishes the same event each time, so it is the event's id, a dot, and
// the time of the next firing, which stands in the message's header and is
// another one each time. Any other event keeps its id. Unmarshal calls it;
// programs that read headers themselves need it too.
func FiringID(id string, h nats.Header) string {
	values := h[headerScheduleNext]
	if len(values) != 1 {
		return id
	}
	next, err := time.Parse(time.RFC3339Nano, values[0])
	if err != nil {
		return id
	}
	own := id + "." + next.UTC().Format(time.RFC3339Nano)
	if len(own) > MaxID {
		return id
	}
	return own
}

// KeepFiring writes the id that Unmarshal gave an event of a repeated schedule
// into h, a copy of the headers of its message: without Nats-Schedule-Next, which
// a copy in another stream must not have, it would have the bare id again.
func KeepFiring(h, message nats.Header) {
	if len(message[headerScheduleNext]) != 1 {
		return
	}
	for name, values := range h {
		if len(values) != 1 || !strings.EqualFold(name, headerPrefix+attrID) {
			continue
		}
		if id, ok := unescape(values[0]); ok {
			h[name] = []string{escape(FiringID(id, message))}
		}
	}
}
