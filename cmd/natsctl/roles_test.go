package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/permission"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/service"
)

type paid struct{}

func (paid) EventType() string { return "shop.order.paid.v1" }

// guarded is a server that enforces the permissions of natsctl's roles, with a
// service that has handled an event and given up another.
type guarded struct {
	*testserver.Server
	svc *service.Service
	log logBuffer
}

func startGuarded(t *testing.T) *guarded {
	t.Helper()
	var conf strings.Builder
	conf.WriteString("authorization: { users: [ { user: root, password: p }\n")
	for name, role := range map[string]permission.Role{"ann": permission.Operator, "looker": permission.Reader, "reader": permission.Reader} {
		set, err := permission.For(permission.Scope{Inbox: name, Dead: name == "reader"}, role)
		if err != nil {
			t.Fatal(err)
		}
		conf.WriteString("{ user: " + name + ", password: p, " + set.Conf() + "}\n")
	}
	g := &guarded{Server: testserver.Start(t, testserver.Listen(), testserver.Conf(conf.String()+"] }"), testserver.Client(nats.UserInfo("root", "p")))}
	svc, err := service.New(g.Connect(t), service.Config{
		Name: "billing", Instance: "billing-1", Admin: true, Logger: slog.New(slog.NewTextHandler(&g.log, nil)),
	},
		service.On(func(_ context.Context, e envelope.Event[paid]) error {
			if e.Delivery.Sequence == 1 && e.Delivery.Replays == 0 {
				return consume.DeadLetter(errors.New("no"))
			}
			return nil
		}, consume.WithName("charge")),
		service.Handle("quote", func(context.Context, struct{}) (int, error) { return 5, nil }))
	if err != nil {
		t.Fatal(err)
	}
	g.svc = svc
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	testserver.Eventually(t, 10*time.Second, func() bool { return svc.Readiness().Ready }, "ready")
	for range 2 {
		if _, err := svc.Publisher().Publish(t.Context(), paid{}); err != nil {
			t.Fatal(err)
		}
	}
	testserver.Eventually(t, 10*time.Second, func() bool {
		s := svc.Status().Events.Subscriptions[0]
		return s.Handled == 1 && s.Dead == 1
	}, "handled")
	return g
}

// natsctl runs a command as somebody.
func (g *guarded) natsctl(t *testing.T, who, line string) (code int, stdout, stderr string) {
	t.Helper()
	return natsctl(t, map[string]string{"NATS_URL": g.URL(), "NATS_USER": who, "NATS_PASSWORD": "p", "USER": who},
		append(strings.Fields(line), "--inbox-prefix", "_INBOX."+who)...)
}

// TestRoles has each role of natsctl do what it should, and not what it should
// not.
func TestRoles(t *testing.T) {
	t.Parallel()
	g := startGuarded(t)
	for _, c := range []struct {
		who, line string
		code      int
	}{
		{"looker", "services", exitOK},
		{"looker", "services billing -o json", exitOK},
		{"looker", "group ls", exitError}, // counts dead letters
		{"reader", "group ls", exitOK},
		{"looker", "tail --no-follow --since 1", exitError},
		{"looker", "group reset billing --to-start --yes", exitError},
		{"looker", "call billing.quote", exitError},
		{"looker", "publish shop.order.paid.v1 --data {}", exitError},
		{"looker", "tree", exitOK},
		{"looker", "inspect billing/billing-1 --stacks", exitOK},
		{"looker", "pause billing --yes", exitError},
		{"looker", "drain billing/billing-1 --yes", exitError},
		{"ann", "services", exitOK},
		{"ann", "group ls", exitOK},
		{"ann", "group show billing/charge", exitOK},
		{"ann", "tail --no-follow --since 1", exitOK},
		{"ann", "group reset billing --to-start --yes", exitOK},
		{"ann", "group reset billing --to-time 1h --yes", exitOK},
		{"ann", "call billing.quote", exitError},
		{"ann", "publish shop.order.paid.v1 --data {}", exitError},
	} {
		line := c.line
		if c.code != exitOK {
			line += " --timeout 300ms" // what is refused is not answered
		}
		if code, out, errOut := g.natsctl(t, c.who, line); code != c.code {
			t.Errorf("%s: natsctl %s: exit code %d, want %d: %s%s", c.who, c.line, code, c.code, out, errOut)
		}
	}
}

// TestActs looks at an instance and acts on it, as people and scripts do.
func TestActs(t *testing.T) {
	t.Parallel()
	g := startGuarded(t)
	for _, c := range []struct {
		line string
		code int
		says string // on either stream
	}{
		{"tree", exitOK, "\n    charge "},
		{"tree billing/billing-1 -o json", exitOK, `"path":"billing/events/charge"`},
		{"tree billing/billing-9", exitNoAnswer, "nobody listens for billing/billing-9"},
		{"tree shipping", exitNoAnswer, "nobody listens for shipping/all"},
		{"tree A", exitUsage, "service"},
		{"inspect billing", exitUsage, "names no instance"},
		{"inspect billing/billing-1", exitOK, "AGE  TIMEOUT  HANDLER"},
		{"inspect billing/billing-1 -o json", exitOK, `"data":[]`},
		{"inspect billing/billing-1 --goroutines", exitOK, "TestActs"},
		{"pause billing --for 1h", exitUsage, "add --yes"},
		{"pause billing --for 1h --dry-run", exitOK, "would: pause charge, by billing/billing-1 (at all instances, until "},
		{"pause billing --for 0s --yes", exitError, "invalid_argument"},
		{"pause billing --subscription x --yes", exitNotFound, "there are charge"},
		{"pause billing --for 1h --why INC-42 --yes -o json", exitOK, `"targets":["charge"]`},
		{"resume billing/billing-1 --yes", exitOK, "done: resume charge"},
		{"restart billing/billing-1 calls/quote --yes", exitOK, "done: restart calls/quote"},
		{"restart billing/billing-1 calls/x --yes", exitNotFound, "no child"},
		{"restart billing calls/quote --yes", exitUsage, "names no instance"},
		{"drain billing --yes", exitUsage, "names no instance"},
		{"drain billing/billing-1 --by bob --yes", exitOK, "done: drain billing-1"},
	} {
		code, out, errOut := g.natsctl(t, "ann", c.line)
		if code != c.code || !strings.Contains(out+errOut, c.says) {
			t.Errorf("natsctl %s: exit code %d, want %d and %q: %s%s", c.line, code, c.code, c.says, out, errOut)
		}
	}
	testserver.Eventually(t, 10*time.Second, func() bool { return g.svc.Status().State == service.StateIdle }, "it drains")
	acts := strings.Count(g.log.String(), `msg="admin act"`)
	if log := g.log.String(); acts != 4 || !strings.Contains(log, "by=ann") || !strings.Contains(log, "why=INC-42") || !strings.Contains(log, "by=bob") {
		t.Errorf("%d acts, want 4: %s", acts, log)
	}
}
