// Package permission knows which subjects each role needs: the least set under
// which the library, or natsctl, does its work on a server that enforces it.
//
// It is the one source of what `natsctl perms` prints and docs/permissions.md
// shows. Its tests run the real programs under these sets, and what must not
// work as well.
//
// A set is made of allowed subjects only. NATS itself sets limits to what it
// can keep apart; docs/permissions.md names them.
package permission
