package envelope

import (
	"crypto/sha256"
	"encoding/base64"
)

// MessageID derives the Nats-Msg-Id of an event from its source and id, which
// together identify it: 22 characters, base64url without padding of the first
// 16 bytes of SHA-256 over source, a zero byte and id. The stream's
// deduplication spans all its subjects, so the bare id would make two sources
// that both count 1, 2, 3 drop each other's events.
func MessageID(source, id string) string {
	var buf [256]byte
	b := append(buf[:0], source...)
	b = append(b, 0)
	b = append(b, id...)
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
