package stream

// Metadata of a durable: whose it is, and of which incarnation.
const (
	MetaGroup        = "agner.group"
	MetaSubscription = "agner.subscription"
	MetaType         = "agner.type"

	// MetaReset is the generation of the saved position to which the durable
	// was set last; absent it is 0. A position of another generation is not
	// this durable's to raise (internal/position).
	MetaReset = "agner.reset"
)
