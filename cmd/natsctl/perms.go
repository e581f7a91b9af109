package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agner-go/agner/internal/permission"
	"github.com/agner-go/agner/internal/subject"
)

const permsHelp = `Print the permissions that roles need, as the block of a user in the
configuration of nats-server; with -o json as lists. All else is refused to that
user. It asks no server. docs/permissions.md explains each role, and what NATS
cannot keep apart.

  publisher      publishes events: --publish
  scheduler      publishes events that are due later, of any type
  group-member   handles events: --group, --subscribe
  caller         calls services: --call
  service        answers calls, is found and asked: --service
  natsctl-read   looks: --events and --dead add the bodies of those
  natsctl-admin  acts: admin verbs, replay, pause, reset
  deployer       makes streams and durables: --group, --subscribe

Several roles give one block. A TYPE is an event type, or a family as shop.>;
NAME=TYPE is a subscription with a name of its own.

Each user needs an inbox that no other has, or others read its replies:
service.Connect makes _INBOX.<name> of nats.Name, and --inbox says that name.`

const permsExample = `  natsctl perms publisher --publish shop.order.placed.v1 --inbox checkout
  natsctl perms service group-member publisher --service billing \
    --subscribe shop.order.placed.v1 --publish shop.order.billed.v1
  natsctl perms natsctl-read --inbox ann -o json`

func (a *app) permsCommand() *cobra.Command {
	s := &permission.Scope{}
	roles := make([]string, 0, len(permission.Roles()))
	for _, r := range permission.Roles() {
		roles = append(roles, string(r))
	}
	cmd := &cobra.Command{
		Use:       "perms ROLE...",
		Short:     "Print the permissions that a role needs",
		Long:      permsHelp,
		Example:   permsExample,
		GroupID:   groupServer,
		ValidArgs: roles,
		Args:      between(1, len(roles), "roles: "+strings.Join(roles, ", ")),
		RunE:      a.run(func(_ context.Context, args []string) error { return a.perms(*s, args) }),
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&s.Inbox, "inbox", "", "`name` of the identity (default: the service, else the group)")
	flags.StringVar(&s.Service, "service", "", "`name` of the service that this is")
	flags.BoolVar(&s.Admin, "admin", false, "the service takes admin verbs, and pauses its subscriptions")
	flags.StringSliceVar(&s.Callers, "callers", nil, "`inboxes` that the service may reply to (default all)")
	flags.StringSliceVar(&s.Calls, "call", nil, "`services` that it calls")
	flags.StringSliceVar(&s.Publish, "publish", nil, "`types` that it publishes")
	flags.StringVar(&s.Group, "group", "", "`name` of the group (default: the service)")
	flags.StringSliceVar(&s.Subscribe, "subscribe", nil, "`[name=]types` that the group handles")
	flags.BoolVar(&s.Bind, "bind", false, "the group's durables are made by a deployer; it cannot heal them")
	flags.BoolVar(&s.Events, "events", false, "natsctl-read reads events, and may then disturb groups")
	flags.BoolVar(&s.Dead, "dead", false, "natsctl-read reads dead letters")
	return cmd
}

// permissions is what -o json prints.
type permissions struct {
	Roles []permission.Role `json:"roles"`
	Inbox string            `json:"inbox"`
	permission.Set
}

func (a *app) perms(s permission.Scope, args []string) error {
	roles := make([]permission.Role, 0, len(args))
	for _, arg := range args {
		roles = append(roles, permission.Role(arg))
	}
	s.Namespace = a.connection.space
	s.Inbox = cmp.Or(s.Inbox, s.Service, s.Group)
	if s.Inbox == "" {
		return usagef("--inbox is missing: the name of who connects, for an inbox of its own")
	}
	set, err := permission.For(s, roles...)
	switch {
	case errors.Is(err, permission.ErrScope), errors.Is(err, subject.ErrName), errors.Is(err, subject.ErrPattern):
		return usagef("%w", err)
	case err != nil:
		return err
	}
	p := a.printer()
	if !p.isTable() {
		return p.document(permissions{Roles: roles, Inbox: s.Inbox, Set: set})
	}
	_, err = fmt.Fprintf(a.stdout, "# %s; connects with nats.Name(%q) by service.Connect,\n# or with nats.CustomInboxPrefix(\"_INBOX.%s\")\n%s",
		strings.Join(args, ", "), s.Inbox, s.Inbox, set.Conf())
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
