// Package deadletter reads the dead letters of the stream DEAD and puts them
// right: a Letter says what died, of what, where and when; Replay gives it back
// to the one subscription that failed.
//
// Replay stores the event in the retry lane of its group, as the first attempt
// of a new round, and then removes the dead letter. It is the same event, by
// source and id; no other group or subscription sees it. An interrupted replay
// can be run again: the lane knows the dead letter by its message id for
// stream.RetryDedupWindow, so that it is stored there once. If the event fails
// again, it is a new dead letter of a later round.
//
// It is for tools: natsctl and what is built beside it. Package consume writes
// what is read here.
package deadletter
