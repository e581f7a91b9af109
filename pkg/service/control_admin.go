package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/control"
	"github.com/agner-go/agner/internal/fleetlog"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/supervise"
)

// maxPause bounds a pause: what is meant for longer is no pause.
const maxPause = 7 * 24 * time.Hour

// plan is an act that was understood and can be done.
type plan struct {
	done control.Done
	do   func(ctx context.Context) error // or nil
	last func()                          // or nil: what is done once the reply is on its way
}

// act carries out a verb of control.Admin, and records it: who, what, why and
// what came of it. What was not understood or cannot be is no act.
func (c *controller) act(ctx context.Context, verb string, m *nats.Msg) (p plan, err error) {
	who, p, err := c.plan(verb, m.Data)
	if err != nil {
		return plan{}, err
	}
	p.done.Verb, p.done.DryRun = verb, who.DryRun
	if who.DryRun {
		p.last = nil
		return p, nil
	}
	if p.do != nil {
		err = classifyAct(p.do(ctx))
	}
	c.record(ctx, who, p.done, m.Reply, err)
	return p, err
}

// plan reads the request of a verb and checks what it names.
func (c *controller) plan(verb string, data []byte) (control.Act, plan, error) {
	switch verb {
	case control.VerbDrain:
		return planOf(data, func(r *control.DrainRequest) (control.Act, plan, error) { return r.Act, c.planDrain(), nil })
	case control.VerbPause:
		return planOf(data, c.planPause)
	case control.VerbResume:
		return planOf(data, c.planResume)
	case control.VerbRestart:
		return planOf(data, c.planRestart)
	case control.VerbLogLevel:
		return planOf(data, c.planLogLevel)
	case control.VerbConcurrency:
		return planOf(data, c.planConcurrency)
	case control.VerbRate:
		return planOf(data, c.planRate)
	}
	return control.Act{}, plan{}, noVerb(control.Admin, verb)
}

func planOf[R any](data []byte, understand func(*R) (control.Act, plan, error)) (control.Act, plan, error) {
	var r R
	if err := decode(data, &r); err != nil {
		return control.Act{}, plan{}, err
	}
	who, p, err := understand(&r)
	if err == nil && strings.TrimSpace(who.By) == "" {
		err = Errorf(CodeInvalidArgument, `by is empty: an act says who acts, {"by":"ann@ops"}`)
	}
	return who, p, err
}

func (c *controller) planDrain() plan {
	s := c.service
	s.mu.Lock()
	drain := s.drain
	s.mu.Unlock()
	return plan{
		done: control.Done{Targets: []string{s.id.Instance}, Detail: "its Run ends within " + s.cfg.DrainTimeout.String()},
		last: drain,
	}
}

// subscriptions are the one that is named, or all.
func (c *controller) subscriptions(name string) ([]string, error) {
	if c.service.consumer == nil {
		return nil, Errorf(CodeFailedPrecondition, "service %s handles no events", c.service.id.Name)
	}
	var all []string
	for _, s := range c.service.consumer.Status().Subscriptions {
		if name == s.Name {
			return []string{name}, nil
		}
		all = append(all, s.Name)
	}
	if name != "" {
		return nil, Errorf(CodeNotFound, "no subscription %.100q: there are %s", name, strings.Join(all, ", "))
	}
	return all, nil
}

func (c *controller) planPause(r *control.PauseRequest) (control.Act, plan, error) {
	names, err := c.subscriptions(r.Subscription)
	d := time.Duration(r.ForMS) * time.Millisecond
	if err == nil && (r.ForMS <= 0 || r.ForMS > maxPause.Milliseconds()) {
		err = Errorf(CodeInvalidArgument, "for_ms is %d: a pause lasts more than 0 and at most %s", r.ForMS, maxPause)
	}
	until := time.Now().Add(d).UTC()
	return r.Act, plan{
		done: control.Done{Targets: names, Detail: "at all instances, until " + until.Format(time.RFC3339)},
		do: forEach(names, func(ctx context.Context, name string) error {
			return c.service.consumer.Pause(ctx, name, until)
		}),
	}, err
}

func (c *controller) planResume(r *control.ResumeRequest) (control.Act, plan, error) {
	names, err := c.subscriptions(r.Subscription)
	return r.Act, plan{
		done: control.Done{Targets: names, Detail: "at all instances"},
		do:   forEach(names, func(ctx context.Context, name string) error { return c.service.consumer.Resume(ctx, name) }),
	}, err
}

func forEach(names []string, do func(context.Context, string) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, name := range names {
			if err := do(ctx, name); err != nil {
				return err
			}
		}
		return nil
	}
}

func (c *controller) planRestart(r *control.RestartRequest) (control.Act, plan, error) {
	s := c.service
	tree := s.tree.Status()
	if tree.Find(s.id.Name+"/"+r.Child) == nil || r.Child == "" {
		return r.Act, plan{}, Errorf(CodeNotFound, "no child %.200q below %s: `calls/quote` is the path of one", r.Child, s.id.Name)
	}
	return r.Act, plan{
		done: control.Done{Targets: []string{r.Child}},
		do:   func(ctx context.Context) error { return s.tree.Restart(ctx, r.Child) },
	}, nil
}

func (c *controller) planLogLevel(r *control.LogLevelRequest) (control.Act, plan, error) {
	var level slog.Level
	before, err := c.service.logLevel()
	if err == nil {
		if parse := level.UnmarshalText([]byte(r.Level)); parse != nil {
			err = Errorf(CodeInvalidArgument, "level: %w: use DEBUG, INFO, WARN or ERROR", parse)
		}
	}
	return r.Act, plan{
		done: control.Done{Targets: []string{c.service.id.Instance}, Detail: before.Level + " to " + level.String()},
		do: func(context.Context) error {
			c.service.cfg.LogLevel.Set(level)
			return nil
		},
	}, err
}

func (c *controller) planConcurrency(r *control.ConcurrencyRequest) (control.Act, plan, error) {
	names, err := c.named(r.Subscription)
	if err == nil && r.Concurrency < 1 {
		err = Errorf(CodeInvalidArgument, "concurrency is %d, and must be at least 1; pause stops a subscription", r.Concurrency)
	}
	return r.Act, plan{
		done: control.Done{Targets: names, Detail: fmt.Sprintf("%d at once, in this instance until it ends", r.Concurrency)},
		//nolint:contextcheck // a handler has a context of its own
		do: func(context.Context) error { return c.service.consumer.SetConcurrency(r.Subscription, r.Concurrency) },
	}, err
}

func (c *controller) planRate(r *control.RateRequest) (control.Act, plan, error) {
	names, err := c.named(r.Subscription)
	if err == nil && r.PerSecond < 0 {
		err = Errorf(CodeInvalidArgument, "per_second is %g, and must not be negative; 0 means no bound", r.PerSecond)
	}
	return r.Act, plan{
		done: control.Done{Targets: names, Detail: fmt.Sprintf("%g a second, in this instance until it ends", r.PerSecond)},
		//nolint:contextcheck // a handler has a context of its own
		do: func(context.Context) error { return c.service.consumer.SetRate(r.Subscription, r.PerSecond) },
	}, err
}

// named is subscriptions for a verb that means one.
func (c *controller) named(subscription string) ([]string, error) {
	if subscription == "" {
		return nil, Errorf(CodeInvalidArgument, "subscription is empty")
	}
	return c.subscriptions(subscription)
}

// classifyAct gives the error of an act the code that a tool understands.
func classifyAct(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, consume.ErrNoSubscription), errors.Is(err, supervise.ErrUnknown):
		return Errorf(CodeNotFound, "%w", err)
	case errors.Is(err, supervise.ErrNotRunning), errors.Is(err, supervise.ErrStuck):
		return Errorf(CodeFailedPrecondition, "%w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return Errorf(CodeDeadlineExceeded, "not done in time, and perhaps going on: %w", err)
	case errors.Is(err, context.Canceled):
		return Errorf(CodeAborted, "the instance stopped meanwhile: %w", err)
	}
	return Errorf(CodeInternal, "%w", err)
}

// record writes an act down. The reply inbox is the asker's: with the
// permissions of docs/permissions.md nobody else could read the answer there.
func (c *controller) record(ctx context.Context, who control.Act, done control.Done, reply string, err error) {
	s := c.service
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("service", s.id.Name), slog.String("instance", s.id.Instance), slog.String("verb", done.Verb),
		slog.String("by", onLine(who.By, 200)), slog.String("why", onLine(who.Why, 1000)),
		slog.String("inbox", inboxOwner(reply)), slog.Any("targets", done.Targets), slog.String("detail", done.Detail),
	}
	if err != nil {
		level = slog.LevelError
		attrs = append(attrs, slog.Any("error", err))
	}
	s.log.LogAttrs(ctx, level, "admin act", attrs...)
	record := fleetlog.Record{
		Kind: fleetlog.KindAdmin, Object: done.Verb, By: onLine(who.By, 200), Text: onLine(who.Why, 1000), Reason: "done",
		Detail: map[string]string{
			"inbox": inboxOwner(reply), "targets": strings.Join(done.Targets, " "), "detail": done.Detail,
		},
	}
	if err != nil {
		record.Reason, record.Detail["error"] = "failed", onLine(err.Error(), 1000)
	}
	s.fleet.Write(record)
}

// inboxOwner is the part of an inbox that is the same for all of one identity.
func inboxOwner(reply string) string {
	parts := strings.SplitN(reply, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}
