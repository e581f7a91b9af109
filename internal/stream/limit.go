package stream

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrFull reports that something could not be stored or made because a limit
// stands in the way: of the stream, of the account (streams, consumers,
// storage), or of the server's storage. The error beneath it says which.
var ErrFull = errors.New("a limit of the stream, account or server is reached")

// Codes of the server (nats-server 2.15, server/errors.json) that say so.
const (
	codeAccountResources jetstream.ErrorCode = 10002
	codeMaxConsumers     jetstream.ErrorCode = 10026
	codeMaxStreams       jetstream.ErrorCode = 10027
	codeMemory           jetstream.ErrorCode = 10028
	codeStorage          jetstream.ErrorCode = 10047
	codeStoreFailed      jetstream.ErrorCode = 10077
	codeMaxStreamBytes   jetstream.ErrorCode = 10122
)

// Full makes an error that a limit has caused match ErrFull, and returns any
// other as it is.
func Full(err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) || errors.Is(err, ErrFull) {
		return err
	}
	switch api.ErrorCode {
	case codeAccountResources, codeInsufficient, codeMaxConsumers, codeMaxStreams, codeMemory, codeStorage, codeMaxStreamBytes:
	case codeStoreFailed:
		// "maximum messages exceeded", "maximum bytes exceeded", "maximum
		// messages per subject exceeded"; other failures have the same code.
		if !strings.Contains(api.Description, "maximum") {
			return err
		}
	default:
		return err
	}
	return fmt.Errorf("%w: %w", ErrFull, err)
}
