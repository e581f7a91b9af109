package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agner-go/agner/internal/control"
	"github.com/agner-go/agner/pkg/service"
)

// actOptions are the flags of every command that acts on an instance.
type actOptions struct {
	yes, dryRun  bool
	by, why      string
	subscription string        // of pause and resume
	length       time.Duration // of pause
}

const actHelp = `

Each act is in the fleet log, with who did it. It asks first; without a terminal
it needs --yes. --dry-run says what it would do. The program must allow it
(service.Config.Admin), and so must the server: docs/permissions.md.`

func (a *app) actCommand(o *actOptions, cmd *cobra.Command, run func(ctx context.Context, args []string) error) *cobra.Command {
	cmd.GroupID = groupServices
	cmd.Long += actHelp
	cmd.ValidArgsFunction = a.completeService
	cmd.RunE = a.run(run)
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.why, "why", "", "a `reason`, for the fleet log")
	flags.StringVar(&o.by, "by", "", "`name` of who acts (default: the user)")
	flags.BoolVar(&o.dryRun, "dry-run", false, "only say what it would do")
	flags.BoolVar(&o.yes, "yes", false, "do not ask")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "yes")
	return cmd
}

func (a *app) pauseCommand() *cobra.Command {
	o := &actOptions{}
	cmd := a.actCommand(o, &cobra.Command{
		Use:   "pause SERVICE[/INSTANCE]",
		Short: "Pause the events of a service (changes the group)",
		Long: `Pause the delivery of events to a service, at all its instances: the pause is
the server's, and reaches instances that hang too. It is asked of one instance,
whichever answers or the one that is named. What has been delivered is still run.`,
		Example: "  natsctl pause billing --for 10m --why INC-42\n  natsctl pause billing --subscription charge --dry-run",
		Args:    between(1, 1, "one SERVICE[/INSTANCE]"),
	}, func(ctx context.Context, args []string) error {
		return a.act(ctx, o, args[0], control.VerbPause, func(who control.Act) any {
			return control.PauseRequest{Act: who, Subscription: o.subscription, ForMS: o.length.Milliseconds()}
		})
	})
	cmd.Flags().DurationVar(&o.length, "for", 10*time.Minute, "how long, at most 168h")
	cmd.Flags().StringVar(&o.subscription, "subscription", "", "only this `name` (default: all of the service)")
	return cmd
}

func (a *app) resumeCommand() *cobra.Command {
	o := &actOptions{}
	cmd := a.actCommand(o, &cobra.Command{
		Use:     "resume SERVICE[/INSTANCE]",
		Short:   "End a pause (changes the group)",
		Long:    "End the pause of a service's events before its time, at all its instances.",
		Example: "  natsctl resume billing --yes",
		Args:    between(1, 1, "one SERVICE[/INSTANCE]"),
	}, func(ctx context.Context, args []string) error {
		return a.act(ctx, o, args[0], control.VerbResume, func(who control.Act) any {
			return control.ResumeRequest{Act: who, Subscription: o.subscription}
		})
	})
	cmd.Flags().StringVar(&o.subscription, "subscription", "", "only this `name` (default: all of the service)")
	return cmd
}

func (a *app) drainCommand() *cobra.Command {
	o := &actOptions{}
	return a.actCommand(o, &cobra.Command{
		Use:   "drain SERVICE/INSTANCE",
		Short: "Drain an instance and end its Run (changes the instance)",
		Long: `Drain an instance: it takes no more calls and events, finishes what it has, and
its Run ends as if its context had. Whether the program ends with it, and is
started again, is its platform's business.`,
		Example: "  natsctl drain billing/billing-1",
		Args:    between(1, 1, "one SERVICE/INSTANCE"),
	}, func(ctx context.Context, args []string) error {
		if _, err := parseInstance(args[0]); err != nil {
			return err
		}
		return a.act(ctx, o, args[0], control.VerbDrain, func(who control.Act) any { return control.DrainRequest{Act: who} })
	})
}

func (a *app) restartCommand() *cobra.Command {
	o := &actOptions{}
	return a.actCommand(o, &cobra.Command{
		Use:   "restart SERVICE/INSTANCE CHILD",
		Short: "Restart a child of an instance (changes the instance)",
		Long: `Stop a child of an instance's supervision tree, drain included, and start it
again. CHILD is its path below the service, as natsctl tree shows it:
calls/quote, events/charge, cache. It uses none of the budget of restarts.`,
		Example: "  natsctl restart billing/billing-1 events/charge",
		Args:    between(2, 2, "one SERVICE/INSTANCE and one CHILD"),
	}, func(ctx context.Context, args []string) error {
		if _, err := parseInstance(args[0]); err != nil {
			return err
		}
		return a.act(ctx, o, args[0], control.VerbRestart, func(who control.Act) any {
			return control.RestartRequest{Act: who, Child: args[1]}
		})
	})
}

// acted is what -o json prints of an act.
type acted struct {
	Service  string `json:"service"`
	Instance string `json:"instance"`
	control.Done
}

// act has an instance say what it would do, asks, and has it done.
func (a *app) act(ctx context.Context, o *actOptions, arg, verb string, request func(control.Act) any) error {
	t, err := parseTarget(arg)
	if err != nil {
		return err
	}
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if t.instance == control.All {
		if t, err = a.anyInstance(ctx, s, t); err != nil {
			return err
		}
	}
	who := control.Act{By: cmp.Or(o.by, a.getenv("USER"), "natsctl"), Why: o.why, DryRun: true}
	plan, err := a.tell(ctx, s, t, verb, request(who))
	if err != nil || o.dryRun {
		return a.sayAct(plan, err)
	}
	if ok, err := a.confirm(ctx, o.yes, plan.sentence()+"?"); err != nil || !ok {
		return err
	}
	who.DryRun = false
	return a.sayAct(a.tell(ctx, s, t, verb, request(who)))
}

func (a *app) sayAct(done acted, err error) error {
	if err != nil {
		return err
	}
	p := a.printer()
	if !p.isTable() {
		return p.document(done)
	}
	head := "done: "
	if done.DryRun {
		head = "would: "
	}
	if _, err := fmt.Fprintln(a.stdout, head+done.sentence()); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func (d acted) sentence() string {
	text := fmt.Sprintf("%s %s, by %s/%s", d.Verb, strings.Join(d.Targets, ", "), d.Service, d.Instance)
	if d.Detail != "" {
		text += " (" + d.Detail + ")"
	}
	return onLine(text, 0)
}

func (a *app) tell(ctx context.Context, s *session, t target, verb string, request any) (acted, error) {
	ctx, cancel := context.WithTimeout(ctx, a.connection.timeout)
	defer cancel()
	d := acted{Service: t.service, Instance: t.instance}
	r, err := control.Ask(ctx, s.nc, control.Subject(s.ns, control.Admin, t.service, t.instance, verb), request)
	if err != nil {
		return d, explainControl(err, t)
	}
	if err := json.Unmarshal(r.Data, &d.Done); err != nil {
		return d, fmt.Errorf("%s answers %s: %w", t, verb, err)
	}
	return d, nil
}

// anyInstance finds one that is ready, or at least answers.
func (a *app) anyInstance(ctx context.Context, s *session, t target) (target, error) {
	all, err := observe[service.Readiness](ctx, a, s, t, control.VerbReady, nil)
	if err != nil {
		return t, err
	}
	if len(all) == 0 {
		return t, noAnswerf("no instance of %s answers", t.service)
	}
	t.instance = all[0].Instance
	for _, o := range all {
		if o.Data.Ready {
			t.instance = o.Instance
			break
		}
	}
	return t, nil
}
