// Package deadletter reads the dead letters of the stream DEAD and puts them
// right: a [Letter] says what died, of what, where and when; [Client.Replay]
// gives events back to the one subscription that failed, [Client.Discard] drops
// them, [Client.Export] writes them out.
//
// # What it guarantees
//
// A replay stores the event in the retry lane of its group, as the first attempt
// of a new round, and then removes the dead letter. It is the same event, by
// source and id; no other group or subscription sees it; its handler reads the
// number of replays in envelope.Delivery.Replays. Of one key the oldest event
// goes first, by its place in EVENTS.
//
// A replay that is interrupted anywhere, by a SIGKILL too, can be run again: no
// event is lost, and none is doubled if the second run comes within
// [DedupWindow] of the first, within which the lane knows each dead letter by its
// message id. A killed server may forget the ids of events that were handled
// meanwhile.
//
// An event that fails again becomes a new dead letter, of a later round and with
// the history of the earlier ones. A replay never meets what died after it
// began, so it ends.
//
// # What it is not
//
// It writes no dead letters: package consume does, and its Config.Redact takes
// out what must not stand in them. It deletes nothing but the letters that were
// named.
package deadletter
