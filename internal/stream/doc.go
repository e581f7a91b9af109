// Package stream holds the final shape of every stream that Agner makes, and
// makes what is missing.
//
// publish, consume and inbox need the same streams whatever the order in which
// they start, so their shape stands in one room that all of them import
// (docs/design/streams.md). A stream that exists is used as it is: this package
// never changes and never deletes one; it reports how it differs (Drift), and
// where it falls short of the Durability that is declared. What a deployer may
// change on purpose is what Raise says; internal/declare does it.
package stream
