package permission

import (
	"github.com/agner-go/agner/internal/control"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// reader looks at everything but the bodies of events and dead letters.
func (b *builder) reader() {
	b.publish("$SRV.*", "$SRV.*.*", "$SRV.*.*.*", control.Subject(b.ns, control.Read, "*", "*", "*"))
	for _, request := range []string{
		"INFO", "STREAM.NAMES", "STREAM.LIST", "STREAM.INFO.*", "CONSUMER.NAMES.*", "CONSUMER.LIST.*", "CONSUMER.INFO.*.*",
	} {
		b.api(request)
	}
	for _, bucket := range []string{stream.PositionsName, stream.InstancesName} {
		b.directGet(stream.KVStream(b.ns.Stream(bucket)))
	}
	b.follow(stream.FleetName, "fleet.>")
	b.subscribe(stream.KVSubject(b.ns.Stream(stream.InstancesName), ">"))
	if b.Events {
		b.directGet(b.ns.Stream(stream.EventsName))
		b.directGet(b.ns.Stream(stream.ScheduledName))
		b.follow(stream.EventsName, "events.>")
	}
	if b.Dead {
		b.directGet(b.ns.Stream(stream.DeadName))
		b.follow(stream.DeadName, "dead.>")
		// By several filters at once: a key in types of any number of parts.
		b.api("CONSUMER.CREATE." + b.ns.Stream(stream.DeadName) + ".*")
		b.api("CONSUMER.DELETE." + b.ns.Stream(stream.DeadName) + ".*") // of what was made to count
	}
}

// directGet allows to read single messages of a stream.
func (b *builder) directGet(streamName string) {
	b.api("DIRECT.GET." + streamName)
	b.api("DIRECT.GET." + streamName + ".>")
	b.api("STREAM.MSG.GET." + streamName)
}

// follow allows to read a stream by consumers of one's own. Their names are
// random, so it allows the same on every consumer of the stream.
func (b *builder) follow(name, filter string) {
	streamName := b.ns.Stream(name)
	b.api("CONSUMER.CREATE." + streamName + ".*." + b.ns.Subject(filter))
	b.api("CONSUMER.MSG.NEXT." + streamName + ".*")
}

// operator is a reader of everything who acts: by admin verbs, by replay, by
// pause and reset of groups, which may make durables anew.
func (b *builder) operator() {
	b.Events, b.Dead = true, true
	b.reader()
	b.publish(control.Subject(b.ns, control.Admin, "*", "*", "*"))
	b.publish(b.ns.Subject("retry.*.due.>"), b.ns.Subject("fleet.admin.>"))
	for _, request := range []string{"STREAM.MSG.DELETE.*", "DIRECT.GET.*", "CONSUMER.PAUSE.*.*", "CONSUMER.RESET.*.*"} {
		b.api(request)
	}
	b.api("STREAM.PURGE." + b.ns.Stream(stream.ScheduledName)) // to cancel a schedule
	events := b.ns.Stream(stream.EventsName)
	b.api("CONSUMER.CREATE." + events + ".*") // to find the sequence of a time, over all subjects
	b.api("CONSUMER.DELETE." + events + ".*")
	b.publish(stream.KVSubject(b.ns.Stream(stream.PositionsName), "*"))
}

// deployer makes what is missing, raises what durables are declared with, and
// sees which are orphaned; it can remove nothing, and change no stream.
func (b *builder) deployer() error {
	names := []string{
		b.ns.Stream(stream.ScheduledName), b.ns.Stream(stream.EventsName), b.ns.Stream(stream.DeadName), b.ns.Stream(stream.FleetName),
		stream.KVStream(b.ns.Stream(stream.PositionsName)), stream.KVStream(b.ns.Stream(stream.InstancesName)),
	}
	if b.Group != "" {
		names = append(names, stream.RetryName(b.ns, b.Group))
	}
	b.api("INFO")
	b.publish(b.ns.Subject("fleet.admin.declarations.all")) // what was applied
	for _, name := range names {
		b.api("STREAM.INFO." + name)
		b.api("STREAM.CREATE." + name)
	}
	subs, err := b.subscriptions()
	if err != nil || b.Group == "" {
		return err
	}
	for _, name := range []string{b.ns.Stream(stream.EventsName), stream.RetryName(b.ns, b.Group)} {
		b.api("CONSUMER.LIST." + name)
		b.api("CONSUMER.INFO." + name + ".*")
	}
	positions := b.ns.Stream(stream.PositionsName)
	for _, s := range subs {
		key := stream.KVSubject(positions, subject.Durable(b.Group, s.name))
		b.publish(key)
		b.api("DIRECT.GET." + stream.KVStream(positions) + "." + key)
		if err := b.heal(s); err != nil {
			return err
		}
	}
	return nil
}
