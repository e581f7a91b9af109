// Package control holds the words of the control protocol: how an operator's
// tool asks an instance of a service what it does, and tells it what to do.
// docs/control.md is its wire.
//
// It is what both sides share: the subjects, the verbs, the shapes of requests
// and replies, and the asking. The answering is package service's. It is not
// the discovery protocol of nats.go/micro, which every service answers too.
//
// Its guarantee: read verbs change nothing; admin verbs stand under subjects of
// their own, which a server's permissions can keep apart, reach one instance
// each, and say who acts.
package control
