// Package demo is the shop behind `natsctl demo`: three services built on the
// library as a user would build them, on an embedded server, with a story that
// makes them work, fail and heal.
//
// The services orders and notify run in this process. Each instance of billing
// is a process of its own, so that killing one is a SIGKILL and no imitation.
//
// Its figures are counted, not claimed: handlers record what they handled, in
// the Ledger; an independent reader collects what stands in the streams EVENTS
// and DEAD, in the Books; Balance holds the one against the other, event by
// event and group by group. No figure is a publisher's own.
package demo
