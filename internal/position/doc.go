// Package position keeps how far a durable has come in the bucket
// AGNER_POSITIONS, so that one that vanishes is made again where it stood.
//
// A floor is raised by compare-and-set and never lowered, except by a reset,
// which begins a new generation. The durable itself names in its metadata the
// generation that it was set to: while the two differ a reset is under way, and
// nobody raises the floor. So a running instance can neither write the floor from
// before a reset over it, nor heal a durable back to there.
//
// It does not reset anything: that is internal/group.
package position
