// Package subject maps event types, keys, groups and instances to NATS
// subjects and names, and back.
//
// It is pure: no connection, no configuration. Its rules are part of the wire
// (docs/wire.md): other languages follow them, so a change here is a change
// of protocol.
package subject
