package natstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

func message(m *jetstream.RawStreamMsg) *nats.Msg {
	return &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data}
}

// Settle waits until nothing is under way: no event that a subscription of the
// groups has not settled, and no retry that waits for its time. Without groups it
// waits for all. It fails the test when that does not come within the Env's
// patience, and names who is behind. Schedules that are not due yet do not count.
//
// It looks at what the broker holds: an event that somebody is about to publish is
// not under way.
func (e *Env) Settle(groups ...string) {
	e.tb.Helper()
	e.eventually(func() error {
		behind, err := look(e.tb, func(ctx context.Context) ([]string, error) { return e.behind(ctx, groups) })
		if err != nil {
			return err
		}
		if len(behind) > 0 {
			return errors.New(strings.Join(behind, "; "))
		}
		return nil
	}, "all is settled")
}

// behind names the durables and lanes that have something left.
func (e *Env) behind(ctx context.Context, groups []string) ([]string, error) {
	ns := subject.Namespace(e.set.namespace)
	var behind []string
	found := map[string]bool{}
	lanes := ns.Stream("RETRY_")
	list := e.js.ListStreams(ctx)
	for info := range list.Info() {
		name := info.Config.Name
		lane, isLane := strings.CutPrefix(name, lanes)
		if name != ns.Stream(stream.EventsName) && !isLane {
			continue
		}
		if isLane && wanted(groups, lane) && info.State.Msgs > 0 {
			behind = append(behind, fmt.Sprintf("%d retries of group %s wait or run", info.State.Msgs, lane))
		}
		if isLane {
			continue
		}
		some, err := e.unsettled(ctx, name, groups, found)
		if err != nil {
			return nil, err
		}
		behind = append(behind, some...)
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	for _, g := range groups {
		if !found[g] {
			behind = append(behind, "group "+g+" has no subscription yet")
		}
	}
	return behind, nil
}

func wanted(groups []string, name string) bool {
	return len(groups) == 0 || slices.Contains(groups, name)
}

// unsettled names the durables of a stream that have events left.
func (e *Env) unsettled(ctx context.Context, name string, groups []string, found map[string]bool) ([]string, error) {
	str, err := e.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	var behind []string
	list := str.ListConsumers(ctx)
	for info := range list.Info() {
		group := info.Config.Metadata["agner.group"]
		if group == "" || !wanted(groups, group) {
			continue
		}
		found[group] = true
		if info.NumPending > 0 || info.NumAckPending > 0 {
			behind = append(behind, fmt.Sprintf("%s has %d events pending and %d in flight", info.Name, info.NumPending, info.NumAckPending))
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list durables of %s: %w", name, err)
	}
	return behind, nil
}
