package deadletter

import "errors"

var (
	// ErrConfig reports a Config or Filter that cannot be.
	ErrConfig = errors.New("configuration is not valid")
	// ErrLetter reports a message of the stream DEAD that is no dead letter.
	ErrLetter = errors.New("not a dead letter")
	// ErrNotFound reports that DEAD holds no message of that sequence: it was
	// replayed, discarded, or is past the stream's age.
	ErrNotFound = errors.New("dead letter does not exist")
	// ErrNoLane reports that the group has no retry lane: it does not exist
	// under this name and namespace.
	ErrNoLane = errors.New("group has no retry lane")
	// ErrNoSubscription reports that the group has no such subscription any
	// more, so that nobody would handle the event.
	ErrNoSubscription = errors.New("group has no such subscription")
	// ErrOriginGone reports a letter without the whole event, because that was too
	// large or was redacted, whose event no longer stands in its stream.
	ErrOriginGone = errors.New("event is no longer in its stream")
	// ErrTooLarge reports an event that the server's max_payload, or its limit of
	// a header block, leaves no room for the headers of the retry lane.
	ErrTooLarge = errors.New("event is too large for the retry lane")
	// ErrRedacted reports a letter that is not exported, because published
	// again it would be another event under the same id.
	ErrRedacted = errors.New("dead letter is redacted")
)
