package permission_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/permission"
	"github.com/agner-go/agner/internal/testserver"
)

type orderPlaced struct {
	OrderID string `json:"order_id"`
}

func (orderPlaced) EventType() string  { return "shop.order.placed.v1" }
func (e orderPlaced) EventKey() string { return e.OrderID }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// identity is somebody with roles.
type identity struct {
	scope permission.Scope
	roles []permission.Role
}

// company is a small one: most do one thing, one does all that a service does.
func company() map[string]identity {
	one := func(role permission.Role, scope permission.Scope) identity {
		return identity{scope, []permission.Role{role}}
	}
	billing := permission.Scope{Service: "billing", Subscribe: []string{"charge=shop.order.placed.v1"}}
	group := billing
	group.Group = "billing"
	bound := group
	bound.Bind = true
	all := group
	all.Admin, all.Calls, all.Publish = true, []string{"billing"}, []string{"shop.order.placed.v1"}
	return map[string]identity{
		"shop":     one(permission.Publisher, permission.Scope{Publish: []string{"shop.order.placed.v1"}}),
		"cron":     one(permission.Scheduler, permission.Scope{}),
		"member":   one(permission.Member, group),
		"bound":    one(permission.Member, bound),
		"web":      one(permission.Caller, permission.Scope{Calls: []string{"billing"}}),
		"rival":    one(permission.Caller, permission.Scope{Calls: []string{"billing"}}),
		"billing":  one(permission.Service, billing),
		"whole":    {all, []permission.Role{permission.Service, permission.Member, permission.Publisher, permission.Caller}},
		"looker":   one(permission.Reader, permission.Scope{}),
		"ann":      one(permission.Operator, permission.Scope{}),
		"deployer": one(permission.Deployer, group),
	}
}

// place is a server that enforces the permissions of the company.
type place struct {
	*testserver.Server
	root jetstream.JetStream // of who may do everything

	mu       sync.Mutex
	refusals []string // as the server told them, each led by who was refused
}

// open starts the server; more is added to its configuration.
func open(t *testing.T, more string) *place {
	t.Helper()
	var conf strings.Builder
	conf.WriteString("authorization: { users: [\n{ user: root, password: p }\n")
	for name, id := range company() {
		id.scope.Inbox = name
		set, err := permission.For(id.scope, id.roles...)
		if err != nil {
			t.Fatal(err)
		}
		conf.WriteString("{ user: " + name + ", password: p, " + set.Conf() + "}\n")
	}
	conf.WriteString("] }\n" + more)
	p := &place{Server: testserver.Start(t, testserver.Conf(conf.String()), testserver.Client(nats.UserInfo("root", "p")))}
	p.root = p.JetStream(t)
	return p
}

// as connects as one of the company.
func (p *place) as(t *testing.T, who string) *nats.Conn {
	t.Helper()
	return p.Connect(t, nats.UserInfo(who, "p"), nats.Name(who), nats.CustomInboxPrefix("_INBOX."+who),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.refusals = append(p.refusals, who+": "+err.Error())
		}))
}

func (p *place) jetStream(t *testing.T, who string) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(p.as(t, who))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// refused gives what was refused so far.
func (p *place) refused() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.refusals...)
}

// clean fails the test for whatever was refused.
func (p *place) clean(t *testing.T) {
	t.Helper()
	for _, r := range p.refused() {
		t.Errorf("refused: %s", r)
	}
}

// run runs something until the test, or stop, ends it.
func run(t *testing.T, r func(ctx context.Context) error) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return stop
}
