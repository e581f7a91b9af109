package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// gather collects what the checker needs: of the history what was acknowledged, of
// EVENTS the events and the outputs as they stand, of STATE each entity.
func gather(ctx context.Context, js jetstream.JetStream, historyPath string, keys int) (Evidence, error) {
	e := Evidence{
		Inputs: map[Origin]map[string][]int{Direct: {}, Events: {}, Neighbor: {}},
		States: make(map[string]Account),
	}
	err := ReadHistory(historyPath, func(r Record) {
		if r.What == recordAcked && r.Origin == Direct {
			e.Inputs[Direct][r.Key] = append(e.Inputs[Direct][r.Key], r.N)
			if r.N%transferEvery == 0 {
				to := neighbor(r.Key, keys)
				e.Inputs[Neighbor][to] = append(e.Inputs[Neighbor][to], r.N)
			}
		}
	})
	if err != nil {
		return e, err
	}
	if err := e.events(ctx, js); err != nil {
		return e, err
	}
	return e, e.states(ctx, js)
}

// events reads inputs and outputs in the order of EVENTS.
func (e *Evidence) events(ctx context.Context, js jetstream.JetStream) error {
	accrued, tallied := "events."+Accrued{}.EventType()+".", "events."+Tallied{}.EventType()+"."
	return each(ctx, js, "EVENTS", "events.chaos.>", jetstream.DeliverAllPolicy, func(m jetstream.Msg) error {
		switch {
		case strings.HasPrefix(m.Subject(), accrued):
			var in Accrued
			if err := json.Unmarshal(m.Data(), &in); err != nil {
				return err
			}
			e.Inputs[Events][in.Key] = append(e.Inputs[Events][in.Key], in.N)
		case strings.HasPrefix(m.Subject(), tallied):
			out := Output{ID: m.Headers().Get("ce-id")}
			if err := json.Unmarshal(m.Data(), &out.Tallied); err != nil {
				return err
			}
			at, err := m.Metadata()
			if err != nil {
				return err
			}
			out.Sequence, out.Stored = at.Sequence.Stream, at.Timestamp
			e.Outputs = append(e.Outputs, out)
		}
		return nil
	})
}

// keep writes EVENTS into a file, one line for each message, for whoever looks for
// the cause of a finding.
func keep(ctx context.Context, js jetstream.JetStream, path string) error {
	f, err := os.Create(path) //nolint:gosec // G304: the machine's own file
	if err != nil {
		return fmt.Errorf("keep EVENTS: %w", err)
	}
	out := bufio.NewWriter(f)
	lines := json.NewEncoder(out)
	err = each(ctx, js, "EVENTS", ">", jetstream.DeliverAllPolicy, func(m jetstream.Msg) error {
		at, err := m.Metadata()
		if err != nil {
			return err
		}
		return lines.Encode(map[string]any{
			"seq": at.Sequence.Stream, "stored": at.Timestamp, "subject": m.Subject(), "header": m.Headers(), "data": string(m.Data()),
		})
	})
	return errors.Join(err, out.Flush(), f.Close())
}

// states reads the last state of each entity, as docs/wire.md has it.
func (e *Evidence) states(ctx context.Context, js jetstream.JetStream) error {
	prefix := "state." + inboxName + ".ent."
	return each(ctx, js, "STATE_"+inboxName, prefix+">", jetstream.DeliverLastPerSubjectPolicy, func(m jetstream.Msg) error {
		if len(m.Data()) == 0 {
			return nil // deleted
		}
		var a Account
		if err := json.Unmarshal(m.Data(), &a); err != nil {
			return err
		}
		e.States[strings.TrimPrefix(m.Subject(), prefix)] = a
		return nil
	})
}

// silence is how long a reader waits for the next message that must be there.
const silence = 20 * time.Second

// each calls f with the messages of a stream that are there now, in order.
func each(ctx context.Context, js jetstream.JetStream, stream, filter string, policy jetstream.DeliverPolicy, f func(jetstream.Msg) error) error {
	c, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}, DeliverPolicy: policy})
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	info, err := c.Info(ctx)
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	for left := info.NumPending; left > 0; {
		batch, err := c.Fetch(int(min(left, 5000)), jetstream.FetchMaxWait(silence))
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		got := uint64(0)
		for m := range batch.Messages() {
			got++
			if err := f(m); err != nil {
				return fmt.Errorf("read %s: %s: %w", stream, m.Subject(), err)
			}
		}
		if got == 0 {
			return fmt.Errorf("read %s: nothing came for %s, %d messages are left: %w", stream, silence, left, batch.Error())
		}
		left -= min(left, got)
	}
	return nil
}

// applied measures how far the inbox has come.
func (e *Evidence) applied() int {
	n := len(e.Outputs)
	for _, a := range e.States {
		n += a.Count
	}
	return n
}
