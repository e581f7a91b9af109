package natstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/deadletter"
	"github.com/agner-go/agner/pkg/envelope"
)

// requestTimeout bounds one look at the server.
const requestTimeout = 5 * time.Second

func (e *Env) eventually(cond func() error, what string) {
	e.tb.Helper()
	testserver.Eventually(e.tb, e.set.patience, cond, "natstest: %s", what)
}

// look runs f with a context of its own.
func look[T any](tb testing.TB, f func(ctx context.Context) (T, error)) (T, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), requestTimeout)
	defer cancel()
	return f(ctx)
}

// RequirePublished waits until an event of T's type is stored for which match
// returns true, or any if match is nil, and returns the first. It fails the test
// when there is none within the Env's patience, and names those that did not match.
func RequirePublished[T envelope.Payload](env *Env, match func(envelope.Event[T]) bool) envelope.Event[T] {
	env.tb.Helper()
	var found envelope.Event[T]
	env.eventually(func() error {
		all, err := published[T](env)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(e envelope.Event[T]) bool { return match == nil || match(e) })
		if i < 0 {
			return fmt.Errorf("%d events of the type are stored, none matches: %s", len(all), brief(all))
		}
		found = all[i]
		return nil
	}, fmt.Sprintf("an event of type %T is published", found.Data))
	return found
}

// Published returns all events of T's type that are stored now, oldest first.
func Published[T envelope.Payload](env *Env) []envelope.Event[T] {
	env.tb.Helper()
	all, err := published[T](env)
	if err != nil {
		env.tb.Fatalf("natstest: published: %v", err)
	}
	return all
}

// brief shows the data of a few events.
func brief[T any](all []envelope.Event[T]) string {
	const most = 5
	var b strings.Builder
	for i, e := range all {
		if i == most {
			b.WriteString(" …")
			break
		}
		fmt.Fprintf(&b, " %+v", e.Data)
	}
	return b.String()
}

func published[T envelope.Payload](env *Env) ([]envelope.Event[T], error) {
	ns := subject.Namespace(env.set.namespace)
	typ, err := envelope.TypeOf[T]()
	if err != nil {
		return nil, err
	}
	filter, err := ns.Filter(typ)
	if err != nil {
		return nil, err
	}
	return look(env.tb, func(ctx context.Context) ([]envelope.Event[T], error) {
		var all []envelope.Event[T]
		codecs := envelope.NewCodecs()
		err := each(ctx, env.js, ns.Stream(stream.EventsName), filter, func(m *jetstream.RawStreamMsg) error {
			raw, err := envelope.Unmarshal(message(m))
			if err != nil {
				return fmt.Errorf("read event %d: %w", m.Sequence, err)
			}
			e, err := envelope.DecodeData[T](codecs, &raw)
			if err != nil {
				return fmt.Errorf("read event %d: %w", m.Sequence, err)
			}
			all = append(all, e)
			return nil
		})
		return all, err
	})
}

// RequireDeadLetter waits until group has a dead letter for which match returns
// true, or any if match is nil, and returns the oldest.
func RequireDeadLetter(env *Env, group string, match func(*deadletter.Letter) bool) *deadletter.Letter {
	env.tb.Helper()
	var found *deadletter.Letter
	env.eventually(func() error {
		all, err := look(env.tb, func(ctx context.Context) ([]*deadletter.Letter, error) {
			return deadLetters(ctx, env.js, subject.Namespace(env.set.namespace), group)
		})
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(l *deadletter.Letter) bool { return match == nil || match(l) })
		if i < 0 {
			return fmt.Errorf("the group has %d dead letters, none matches", len(all))
		}
		found = all[i]
		return nil
	}, "group "+group+" has a dead letter")
	return found
}

func deadLetters(ctx context.Context, js jetstream.JetStream, ns subject.Namespace, group string) ([]*deadletter.Letter, error) {
	var all []*deadletter.Letter
	err := each(ctx, js, ns.Stream(stream.DeadName), ns.Subject("dead."+group+".>"), func(m *jetstream.RawStreamMsg) error {
		l, err := deadletter.Parse(m)
		if err != nil {
			return fmt.Errorf("read dead letter %d: %w", m.Sequence, err)
		}
		all = append(all, l)
		return nil
	})
	return all, err
}

// each calls f for all messages of a stream that match filter, oldest first. A
// stream that does not exist has none.
func each(ctx context.Context, js jetstream.JetStream, name, filter string, f func(*jetstream.RawStreamMsg) error) error {
	str, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", name, err)
	}
	for seq := uint64(1); ; {
		m, err := str.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read stream %s: %w", name, err)
		}
		if err := f(m); err != nil {
			return err
		}
		seq = m.Sequence + 1
	}
}
