// Package group is what an operator sees of a consumer group, and how its
// place in history is changed: the engine of `natsctl group`.
//
// [List] reads the subscriptions of a group from the server: no instance has to
// answer. [MakePlan] says what a reset would do to each of them, and changes
// nothing; [Plan.Apply] does it, while instances run. A reset that was
// interrupted is mended by planning and applying it again.
//
// It makes no durable that no program has made before, and never touches what
// stands in EVENTS or DEAD. docs/design/reset.md gives the steps and the reasons.
package group
