// Package declare compares what programs declare that they need with what a
// server has, and makes the difference: the engine of `natsctl apply`.
//
// A [Declaration] is a value, and JSON, that publish, consume, service and
// inbox give: the streams, buckets and durables of one program, in the server's
// own terms. [Planner.Plan] holds one or more of them against the server and
// changes nothing; [Planner.Apply] makes and updates what the plan says. With
// that done, programs run under an identity that may create nothing.
//
// # What it guarantees
//
// It destroys nothing without being told. An update keeps every event and every
// position: it raises replicas, adds subjects and sources, or sets what a
// durable waits for. What it may not or cannot do so is shown as drift and left
// alone. Durables are deleted only by a plan that was asked to prune, which names
// each with what it has not handled.
//
// Configuration carries a generation in its metadata. What the server has of a
// later generation is never changed by an earlier declaration, whatever the
// order in which versions of a program are deployed.
//
// # What it is not
//
// It makes no stream in another form than package stream, and knows nothing of
// instances: that nobody pulls from a durable is how it sees that nobody needs
// it.
package declare
