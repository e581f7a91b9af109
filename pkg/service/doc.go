// Package service runs one instance of a service: it handles events, answers
// calls and makes them, and is found by the tools of NATS.
//
// # What it is
//
// A [Service] is made of parts: [On] and [OnEvent] handle events through
// durable subscriptions (package consume), [Handle] answers calls, [Add] brings
// any child with a Run of its own. [Service.Run] runs them under a supervisor
// (package supervise) until its context ends, then drains.
//
// A [Client] makes calls: [Call] waits for the reply of one instance, any, the
// one of [ToInstance], or with [ToSame] the one that answered before; [Gather]
// iterates over the replies of all; [Cast], to one or to all, waits for none.
// Requests and results are JSON over NATS request and reply; other languages and
// the nats CLI take part by docs/wire.md. An [Interceptor] wraps calls on
// either side.
//
// Each instance answers the discovery protocol of nats.go/micro, so that
// `nats service ls|info|stats|ping` see it.
//
// Each instance is registered while it runs, in a bucket on the server that
// forgets it when it does not renew its entry: [Instances] lists them, [Watch] tells
// who comes and goes, [Monitor] that one of them is down. What happens to them
// stands in the fleet log, which `natsctl log` shows.
//
// # What it guarantees
//
// A call is at most once: at most one handler runs it, and the caller's error
// says whether one may have. [CodeUnavailable] means that none did: nobody serves
// the endpoint, all places are taken, or the request was never sent. After
// [CodeDeadlineExceeded] and [CodeCanceled] one may have. Only a caller that says
// [Retry] to an endpoint that says [WithIdempotent] has a call run again.
//
// An instance refuses at once what it has no place for, and such a call is
// tried again, at another instance perhaps, as long as retries are few beside
// calls ([ClientConfig]): an overload is not made worse by those it turns away.
//
// A deadline travels with a call, relative, so that clocks need not agree. A
// request whose time is up is not run. When a caller gives up, the context of
// the handler ends.
//
// What a handler did not classify with [Errorf] stays in the service: its
// caller gets an id, the log has the cause. A panic ends one call.
//
// A reply goes only to an inbox, and is never empty: who may call a service
// cannot make it write elsewhere (promise P9 of the design).
//
// Events are at least once; see package consume.
//
// A monitor gets one notice: of a goodbye at once, of a crash within the TTL (3 s)
// and one second. An outage of the broker declares nobody dead, and ends no
// instance. A process that was paused for longer than the TTL is declared down, and
// registers as another incarnation when it goes on; what it did in between is not
// undone: presence says who is there, and is no lock.
//
// # How it stops
//
// When the context of [Service.Run] ends, events and calls stop coming at the
// same moment. What arrived before is finished within DrainTimeout; near its
// end the handlers' contexts are cancelled. Then the children of [Add] stop, in
// reverse order, and what was published is waited for. Discovery answers until
// then. Callers see no error: what this instance does not take, another does.
//
// # How it is looked after
//
// [Service.Readyz] and [Service.Healthz] answer a platform's probes.
// Each instance answers the read verbs of docs/control.md: its state, its tree,
// the handlers in flight with their stacks. With [Config.Admin] it takes the
// admin verbs too: drain, pause, restart a child, set concurrency, rate and log
// level. docs/permissions.md has what a server must allow to whom.
//
// # What it is not
//
// It is no broker of work: a call that nobody can take now fails now. Work that
// must not be lost is an event. It keeps no state (package inbox does), also
// where callers stay with an instance, and promises no order among calls.
package service
