package publish

import "github.com/agner-go/agner/internal/stream"

// Durability is what acknowledged events are to survive. It is declared in the
// Config of each package that makes streams and buckets, which then get what it
// needs, and it is recorded in their metadata (agner.durability). The server
// gives it, not Agner: where a stream that is made or found falls short of it,
// start-up logs a warning and goes on.
//
// The zero value is ProcessSafe. In metadata and JSON each has its name here.
type Durability = stream.Durability

const (
	// ProcessSafe survives the end of any server process, kill -9 included. It
	// needs file storage, written before the acknowledgement (not
	// persist_mode async). The loss of power costs what was acknowledged since
	// the last fsync: with the server's default up to two minutes.
	ProcessSafe = stream.ProcessSafe

	// PowerSafe survives besides the loss of power of all servers at once, and
	// of one server for good. It needs three replicas and `sync_interval:
	// always` on each server. An ordinary account cannot see the latter, so
	// nothing warns where it is missing but who reads /varz of the servers;
	// docs/deploy has a configuration that gives it, and its price.
	PowerSafe = stream.PowerSafe

	// Memory keeps events in memory: what all servers of the stream forget at
	// one time is gone, streams and positions of groups with it.
	Memory = stream.Memory
)

// ErrDurability reports a Durability that is none of the three, or one that
// contradicts Replicas.
var ErrDurability = stream.ErrDurability
