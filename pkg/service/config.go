package service

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/agner-go/agner/internal/control"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/supervise"
)

// Defaults of Config and ClientConfig.
const (
	DefaultVersion      = "0.0.0"
	DefaultDrainTimeout = 25 * time.Second
	DefaultCallTimeout  = 5 * time.Second
	DefaultAttempts     = 3
	DefaultRetryRatio   = 0.1
)

// Config configures a Service. Only Name is required.
type Config struct {
	// Name is the service's, the same in all instances: the first part of its
	// call targets, its consumer group, and its name in discovery. It consists
	// of a-z, 0-9 and '-'.
	Name string

	// Version follows semver.org and is shown by discovery. Default "0.0.0".
	Version string

	// Instance names this process among those of the service, for calls that
	// mean exactly it. It consists of a-z, 0-9 and '-', and must be unique;
	// `all` and `cancel` are reserved. Default: random.
	Instance string

	// Namespace sets subjects and streams of one environment apart from those
	// of another in the same account: [a-z0-9-]+. Default: none.
	Namespace string

	// Description and Metadata are shown by discovery.
	Description string
	Metadata    map[string]string

	// Source is the source attribute of events that [Service.Publisher]
	// publishes. Default "/" and the name.
	Source string

	// Consume is for the handlers of events. Group, Namespace, Instance,
	// DrainTimeout and Logger come from the service where they are empty;
	// Namespace and Instance must not differ from the service's.
	Consume consume.Config

	// Publish is for [Service.Publisher]. Source, Namespace and Logger come
	// from the service where they are empty; Namespace must not differ.
	Publish publish.Config

	// Provision set to new(false) makes nothing on the server: what
	// [Service.Declaration] names must be there, as `natsctl apply` makes it.
	// Consume and Publish take it where they say nothing else. Default: what is
	// missing is made; what is there is never changed.
	Provision *bool

	// Durability is declared for the streams and buckets that the service
	// makes. Consume and Publish take it where they declare nothing else.
	// Default publish.ProcessSafe.
	Durability publish.Durability

	// Presence says how others see that this instance is there.
	Presence PresenceConfig

	// CallTimeout bounds calls of [Service.Client] whose context has no
	// deadline. Default 5 s.
	CallTimeout time.Duration

	// DrainTimeout bounds the stop: handlers that run get nine tenths of it
	// before their contexts are cancelled. Default 25 s, below the 30 s that
	// platforms usually grant.
	DrainTimeout time.Duration

	// Supervision says how often children are restarted, how fast, and which
	// of them together, before Run gives up: of the service's own tree (events,
	// calls, and what Add added) and of its endpoints; Consume.Supervision is
	// for the subscriptions. Name, Gate, Template and Logger are filled in. The
	// zero value is supervise's: each on its own, five restarts in a minute.
	Supervision supervise.Config

	// Interceptors wrap every endpoint, ClientInterceptors every call of
	// [Service.Client]. The first is the outermost.
	Interceptors       []Interceptor
	ClientInterceptors []Interceptor

	// ReplyPrefixes are the beginnings of subjects to which replies may go,
	// those of callers' inboxes. None may begin with '$'. Default "_INBOX."
	// and "_INBOX_". Calls that come from another account over a service
	// import are replied to on "_R_.".
	ReplyPrefixes []string

	// Admin lets operators act on this instance by the admin verbs of
	// docs/control.md: drain, pause and resume, restart a child, set
	// concurrency, rate and log level. Who of them may is the server's to
	// decide, by permissions (docs/permissions.md); each act is logged with who
	// did it. Default off: nothing listens. The read verbs, which change
	// nothing, are always there.
	Admin bool

	// LogLevel is the level of the program's log handler, for operators to see
	// and, with Admin, to set. Default nil: the level is not theirs to see.
	LogLevel *slog.LevelVar

	// Logger gets what an operator should know. Default slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Version == "" {
		c.Version = DefaultVersion
	}
	if c.Instance == "" {
		c.Instance = strings.ToLower(rand.Text()[:12])
	}
	if c.Source == "" {
		c.Source = "/" + c.Name
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = DefaultDrainTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Consume.Group = orElse(c.Consume.Group, c.Name)
	c.Consume.Namespace = orElse(c.Consume.Namespace, c.Namespace)
	c.Consume.Instance = orElse(c.Consume.Instance, c.Instance)
	c.Consume.DrainTimeout = orElse(c.Consume.DrainTimeout, c.DrainTimeout)
	c.Consume.Logger = orElse(c.Consume.Logger, c.Logger)
	c.Consume.Provision = orElse(c.Consume.Provision, c.Provision)
	c.Publish.Provision = orElse(c.Publish.Provision, c.Provision)
	c.Consume.Durability = orElse(c.Consume.Durability, c.Durability)
	c.Publish.Durability = orElse(c.Publish.Durability, c.Durability)
	c.Publish.Source = orElse(c.Publish.Source, c.Source)
	c.Publish.Namespace = orElse(c.Publish.Namespace, c.Namespace)
	c.Publish.Logger = orElse(c.Publish.Logger, c.Logger)
	return c
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func (c Config) check() error {
	if err := subject.CheckName("service", c.Name); err != nil {
		return err
	}
	if c.Name == control.All {
		return fmt.Errorf("service %q is a reserved name: %w", c.Name, subject.ErrName)
	}
	if err := checkVersion(c.Version); err != nil {
		return err
	}
	if err := checkToken("instance", c.Instance); err != nil {
		return err
	}
	if err := subject.Namespace(c.Namespace).Check(); err != nil {
		return err
	}
	for _, f := range []struct {
		ok   bool
		want string
	}{
		{c.DrainTimeout > 0, "DrainTimeout must be more than 0"},
		{c.Presence.TTL >= 0 && c.Presence.TTL%time.Second == 0, "Presence.TTL must be of whole seconds"},
		{c.Consume.Namespace == c.Namespace, "Consume.Namespace differs from Namespace"},
		{c.Consume.Instance == c.Instance, "Consume.Instance differs from Instance"},
		{c.Publish.Namespace == c.Namespace, "Publish.Namespace differs from Namespace"},
	} {
		if !f.ok {
			return fmt.Errorf("%s: %w", f.want, ErrConfig)
		}
	}
	return nil
}
