package permission

import (
	"fmt"
	"slices"

	"github.com/agner-go/agner/internal/control"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// Set is what an identity is allowed; all else is refused.
type Set struct {
	Publish   []string `json:"publish"`
	Subscribe []string `json:"subscribe"`
}

// For gives the union of what the roles need, in order and without doubles. The
// error wraps ErrScope or subject.ErrName.
func For(s Scope, roles ...Role) (Set, error) {
	if len(roles) == 0 {
		return Set{}, fmt.Errorf("no role: there are %v: %w", Roles(), ErrScope)
	}
	if s.Group == "" {
		s.Group = s.Service
	}
	if err := s.check(roles); err != nil {
		return Set{}, err
	}
	b := &builder{Scope: s, ns: subject.Namespace(s.Namespace)}
	b.subscribe("_INBOX." + s.Inbox + ".>")
	for _, role := range roles {
		var err error
		switch role {
		case Publisher:
			err = b.publisher()
		case Scheduler:
			b.scheduler()
		case Member:
			err = b.member()
		case Caller:
			for _, name := range s.Calls {
				b.publish(b.ns.Subject("rpc." + name + ".>"))
			}
		case Service:
			b.service()
		case Reader:
			b.reader()
		case Operator:
			b.operator()
		case Deployer:
			err = b.deployer()
		default:
			err = fmt.Errorf("no role %.40q: there are %v: %w", role, Roles(), ErrScope)
		}
		if err != nil {
			return Set{}, err
		}
	}
	return b.set, nil
}

// builder collects a set.
type builder struct {
	Scope
	ns  subject.Namespace
	set Set
}

func (b *builder) publish(subjects ...string)   { add(&b.set.Publish, subjects) }
func (b *builder) subscribe(subjects ...string) { add(&b.set.Subscribe, subjects) }

func add(list *[]string, subjects []string) {
	for _, s := range subjects {
		if !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
}

// api allows a request of the JetStream API.
func (b *builder) api(request string) { b.publish("$JS.API." + request) }

// info allows to look at streams, named without their namespace.
func (b *builder) info(streams ...string) {
	for _, name := range streams {
		b.api("STREAM.INFO." + b.ns.Stream(name))
	}
}

func (b *builder) publisher() error {
	for _, typ := range b.Publish {
		filter, err := b.ns.Filter(typ)
		if err != nil {
			return err
		}
		b.publish(filter)
	}
	b.info(stream.ScheduledName, stream.EventsName, stream.DeadName)
	return nil
}

// scheduler declares, lists and cancels. The right to purge adds nothing to what
// a roll-up on these subjects can do.
func (b *builder) scheduler() {
	b.publish(b.ns.Subject("scheduled.pending.>"))
	b.info(stream.ScheduledName, stream.EventsName, stream.DeadName)
	b.directGet(b.ns.Stream(stream.ScheduledName))
	b.api("STREAM.PURGE." + b.ns.Stream(stream.ScheduledName))
}

// member handles events: it pulls and acknowledges on its own durables, keeps
// their positions, and stores retries and dead letters of its own group.
func (b *builder) member() error {
	subs, err := b.subscriptions()
	if err != nil {
		return err
	}
	events, lane := b.ns.Stream(stream.EventsName), stream.RetryName(b.ns, b.Group)
	positions := b.ns.Stream(stream.PositionsName)
	b.info(stream.ScheduledName, stream.EventsName, stream.DeadName)
	b.api("STREAM.INFO." + lane)
	b.api("STREAM.INFO." + stream.KVStream(positions))
	b.publish(b.ns.Subject("dead." + b.Group + ".>"))
	// The mark of an event that was run alone is removed; a purge cannot be
	// held to a subject by permissions, only to the stream.
	b.api("STREAM.PURGE." + lane)
	for _, s := range subs {
		durable := subject.Durable(b.Group, s.name)
		b.durable(events, durable)
		b.durable(lane, durable)
		if err := b.heal(s); err != nil {
			return err
		}
		for _, kind := range []string{"wait", "mark"} {
			subj := b.ns.Subject("retry." + b.Group + "." + kind + "." + s.name + ".*")
			b.publish(subj)
			b.api("DIRECT.GET." + lane + "." + subj)
		}
		key := stream.KVSubject(positions, durable)
		b.publish(key)
		b.api("DIRECT.GET." + stream.KVStream(positions) + "." + key)
	}
	return nil
}

// durable allows to look at one durable, to pull from it and to acknowledge,
// the last in both forms that servers use (ADR-15).
func (b *builder) durable(streamName, durable string) {
	b.api("CONSUMER.INFO." + streamName + "." + durable)
	b.api("CONSUMER.MSG.NEXT." + streamName + "." + durable)
	b.publish("$JS.ACK."+streamName+"."+durable+".>", "$JS.ACK.*.*."+streamName+"."+durable+".>")
	if b.Admin {
		b.api("CONSUMER.PAUSE." + streamName + "." + durable)
	}
}

// heal allows to make the durables of a subscription, with its own filter only.
func (b *builder) heal(s subscription) error {
	if b.Bind {
		return nil
	}
	filter, err := b.ns.Filter(s.pattern)
	if err != nil {
		return err
	}
	durable := subject.Durable(b.Group, s.name)
	b.api("CONSUMER.CREATE." + b.ns.Stream(stream.EventsName) + "." + durable + "." + filter)
	b.api("CONSUMER.CREATE." + stream.RetryName(b.ns, b.Group) + "." + durable + "." + b.ns.RetryDue(b.Group, s.name, "*"))
	return nil
}

// service answers calls, discovery and the control subjects, and is registered.
func (b *builder) service() {
	name := b.Service
	if len(b.Callers) == 0 {
		b.publish("_INBOX.>")
	}
	for _, inbox := range b.Callers {
		b.publish("_INBOX." + inbox + ".>")
	}
	found := b.ns.Stream(name) // as discovery knows it
	b.subscribe(b.ns.Subject("rpc."+name+".>"), "$SRV.*", "$SRV.*."+found, "$SRV.*."+found+".*",
		control.Subject(b.ns, control.Read, name, "*", "*"), control.Subject(b.ns, control.Read, control.All, control.All, "*"))
	if b.Admin {
		b.subscribe(control.Subject(b.ns, control.Admin, name, "*", "*"))
	}
	b.present(name)
}

// present registers instances, sees others come and go, and writes down what
// happens to the fleet. An instance that is gone is written down by whoever
// notices.
func (b *builder) present(name string) {
	bucket := b.ns.Stream(stream.InstancesName)
	b.info(stream.FleetName)
	b.publish(b.ns.Subject("fleet.*."+name+".*"), b.ns.Subject("fleet.down.*.*"))
	b.api("STREAM.INFO." + stream.KVStream(bucket))
	b.api("DIRECT.GET." + stream.KVStream(bucket))
	b.api("DIRECT.GET." + stream.KVStream(bucket) + "." + stream.KVSubject(bucket, ">"))
	b.publish(stream.KVSubject(bucket, name+".*"), stream.KVSubject(bucket, stream.ObserverKey))
	b.subscribe(stream.KVSubject(bucket, ">"))
}
