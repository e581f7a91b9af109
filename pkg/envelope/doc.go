// Package envelope turns events into NATS messages and back: CloudEvents 1.0
// in the binary and structured modes of the NATS protocol binding.
//
// It is pure: it opens no connection and knows no JetStream. It does not
// choose subjects (package publish does) and does not deliver (package consume
// does).
//
// Its guarantee: what it writes obeys every rule of docs/wire.md; what it
// reads without error can be written again and gives an equal event, with
// extensions and data bytes unchanged; no input makes it panic, and each
// refusal is a typed error that names the attribute and the rule.
package envelope
