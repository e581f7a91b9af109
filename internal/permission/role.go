package permission

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agner-go/agner/internal/subject"
)

// Role is what an identity does. One identity may have several.
type Role string

// The roles that exist.
const (
	Publisher Role = "publisher"     // publishes events of some types
	Scheduler Role = "scheduler"     // publishes events that are due later
	Member    Role = "group-member"  // handles the events of a group
	Caller    Role = "caller"        // calls services
	Service   Role = "service"       // answers calls, is found, seen and asked
	Reader    Role = "natsctl-read"  // looks, by natsctl
	Operator  Role = "natsctl-admin" // acts, by natsctl
	Deployer  Role = "deployer"      // makes streams, buckets and durables
)

// Roles lists them, in the order of the documentation.
func Roles() []Role {
	return []Role{Publisher, Scheduler, Member, Caller, Service, Reader, Operator, Deployer}
}

// ErrScope reports a scope that does not say what a role needs, or says it
// wrongly.
var ErrScope = errors.New("scope is not valid")

// Scope says what an identity's roles are about.
type Scope struct {
	// Namespace sets environments apart. Default none.
	Namespace string
	// Inbox names the identity's inbox, `_INBOX.<inbox>`: what service.Connect
	// makes of nats.Name. Required.
	Inbox string
	// Service is the name of a Service.
	Service string
	// Admin lets a Service listen to admin verbs and pause its subscriptions.
	Admin bool
	// Callers are the inboxes that a Service may reply to. Default: all.
	Callers []string
	// Calls are the services that a Caller may call.
	Calls []string
	// Publish are the types, or families `shop.>`, that a Publisher publishes.
	Publish []string
	// Group is the group of a Member, by default Service; Subscribe is what it
	// handles: types, or `name=pattern` for a subscription with a name.
	Group     string
	Subscribe []string
	// Bind leaves a Member without the right to make its durables, and so to
	// heal them.
	Bind bool
	// Events and Dead let a Reader read the events, and the dead letters, too.
	Events, Dead bool
}

// subscription is one of a group.
type subscription struct{ name, pattern string }

func (s Scope) subscriptions() ([]subscription, error) {
	all := make([]subscription, 0, len(s.Subscribe))
	for _, text := range s.Subscribe {
		name, pattern, named := strings.Cut(text, "=")
		if !named {
			name, pattern = subject.Subscription(text), text
		}
		if err := subject.CheckName("subscription", name); err != nil {
			return nil, fmt.Errorf("%w (as name=%s): %w", err, pattern, ErrScope)
		}
		all = append(all, subscription{name, pattern})
	}
	return all, nil
}

// check validates what all roles share and what each needs.
func (s Scope) check(roles []Role) error {
	if err := subject.Namespace(s.Namespace).Check(); err != nil {
		return err
	}
	for _, inbox := range append([]string{s.Inbox}, s.Callers...) {
		if !isInbox(inbox) {
			return fmt.Errorf("inbox %.60q: name the identity by A-Z, a-z, 0-9, '-' and '_': %w", inbox, ErrScope)
		}
	}
	for _, of := range []struct {
		what  string
		names []string
	}{{"service", s.Calls}, {"service", some(s.Service)}, {"group", some(s.Group)}} {
		for _, name := range of.names {
			if err := subject.CheckName(of.what, name); err != nil {
				return err
			}
		}
	}
	for _, need := range []struct {
		role Role
		ok   bool
		what string
	}{
		{Publisher, len(s.Publish) > 0, "the types that it publishes"},
		{Member, s.Group != "" && len(s.Subscribe) > 0, "its group and what that subscribes to"},
		{Caller, len(s.Calls) > 0, "the services that it calls"},
		{Service, s.Service != "", "its name"},
	} {
		if slices.Contains(roles, need.role) && !need.ok {
			return fmt.Errorf("role %s needs %s: %w", need.role, need.what, ErrScope)
		}
	}
	return nil
}

// isInbox tells whether service.Connect could have made this of a name.
func isInbox(name string) bool {
	return name != "" && subject.Token(name) == name
}

func some(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}
