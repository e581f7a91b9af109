package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/jsm.go/natscontext"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/pflag"

	"github.com/agner-go/agner/internal/subject"
)

// connection is where to connect and as whom, named as the nats tool names it.
type connection struct {
	server, context            string
	user, password, token      string
	creds, nkey                string
	tlsCert, tlsKey, tlsCA     string
	tlsFirst                   bool
	inboxPrefix, domain, space string
	timeout                    time.Duration

	flags *pflag.FlagSet
}

const defaultTimeout = 5 * time.Second

func (c *connection) addFlags(flags *pflag.FlagSet) {
	c.flags = flags
	flags.StringVarP(&c.server, "server", "s", "", "`URL` of the server, several with commas (NATS_URL)")
	flags.StringVar(&c.context, "context", "", "`name` of a context of the nats tool (NATS_CONTEXT)")
	flags.StringVar(&c.creds, "creds", "", "credentials `file` (NATS_CREDS)")
	flags.StringVar(&c.user, "user", "", "user `name`, or a token if there is no password (NATS_USER)")
	flags.StringVar(&c.password, "password", "", "`password` (NATS_PASSWORD)")
	flags.StringVar(&c.token, "token", "", "`token` (NATS_TOKEN)")
	flags.StringVar(&c.nkey, "nkey", "", "`file` with the seed of an NKey (NATS_NKEY)")
	flags.StringVar(&c.tlsCert, "tlscert", "", "`file` with the client's certificate (NATS_CERT)")
	flags.StringVar(&c.tlsKey, "tlskey", "", "`file` with its private key (NATS_KEY)")
	flags.StringVar(&c.tlsCA, "tlsca", "", "`file` with the certificate authorities (NATS_CA)")
	flags.BoolVar(&c.tlsFirst, "tlsfirst", false, "begin TLS before the server's greeting")
	flags.StringVar(&c.inboxPrefix, "inbox-prefix", "", "`prefix` of inboxes, where permissions ask for one")
	flags.StringVar(&c.domain, "js-domain", "", "JetStream `domain`")
	flags.StringVar(&c.space, "namespace", "", "`name` of the Agner namespace, where there is one")
	flags.DurationVar(&c.timeout, "timeout", defaultTimeout, "how long to wait for a server or an answer (NATS_TIMEOUT)")
}

// setting is a flag's value, or that of its environment variable.
func (c *connection) setting(a *app, flag, env string) string {
	if f := c.flags.Lookup(flag); f != nil && f.Changed {
		return f.Value.String()
	}
	return a.getenv(env)
}

// resolve reads the environment for what no flag says.
func (c *connection) resolve(a *app) error {
	if v := a.getenv("NATS_TIMEOUT"); v != "" && !c.flags.Changed("timeout") {
		d, err := time.ParseDuration(v)
		if err != nil {
			return usagef("NATS_TIMEOUT: %w", err)
		}
		c.timeout = d
	}
	if c.timeout <= 0 {
		return usagef("--timeout must be more than 0, not %s", c.timeout)
	}
	if err := subject.Namespace(c.space).Check(); err != nil {
		return usagef("--namespace: %w", err)
	}
	c.server = c.setting(a, "server", "NATS_URL")
	c.context = c.setting(a, "context", "NATS_CONTEXT")
	c.tlsCert = c.setting(a, "tlscert", "NATS_CERT")
	c.tlsKey = c.setting(a, "tlskey", "NATS_KEY")
	c.tlsCA = c.setting(a, "tlsca", "NATS_CA")
	c.resolveIdentity(a)
	return nil
}

// resolveIdentity takes who we are from the flags or from the environment, as
// a whole: a user of one with a password of the other is nobody.
func (c *connection) resolveIdentity(a *app) {
	for _, name := range []string{"user", "password", "token", "creds", "nkey"} {
		if c.flags.Changed(name) {
			return
		}
	}
	c.user, c.password, c.token = a.getenv("NATS_USER"), a.getenv("NATS_PASSWORD"), a.getenv("NATS_TOKEN")
	c.creds, c.nkey = a.getenv("NATS_CREDS"), a.getenv("NATS_NKEY")
}

func (c *connection) identified() bool {
	return c.user != "" || c.password != "" || c.token != "" || c.creds != "" || c.nkey != ""
}

// identity gives the options of who we are; the context library reads the
// forms of a reference that the nats tool knows (file, env://, op://, data:).
func (c *connection) identity() ([]nats.Option, error) {
	user, token := c.user, c.token
	if user != "" && c.password == "" {
		user, token = "", user
	}
	who, err := natscontext.New("", false,
		natscontext.WithUser(user), natscontext.WithPassword(c.password), natscontext.WithToken(token),
		natscontext.WithCreds(c.creds), natscontext.WithNKey(c.nkey))
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	opts, err := who.NATSOptions()
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	return opts, nil
}

// place is the context in force, with the other flags over it. A context that
// nobody named is used only if no server was named either: its credentials are
// not for a server that it does not name.
func (c *connection) place() (*natscontext.Context, error) {
	load := c.context != "" || c.server == ""
	opts := []natscontext.Option{
		natscontext.WithServerURL(c.server),
		natscontext.WithCertificate(c.tlsCert), natscontext.WithKey(c.tlsKey), natscontext.WithCA(c.tlsCA),
		natscontext.WithInboxPrefix(c.inboxPrefix), natscontext.WithJSDomain(c.domain),
	}
	if c.tlsFirst {
		opts = append(opts, natscontext.WithTLSHandshakeFirst())
	}
	found, err := natscontext.New(c.context, load, opts...)
	switch {
	case errors.Is(err, natscontext.ErrNotFound):
		return nil, notFoundf("context %q does not exist: `nats context ls` lists those there are", c.context)
	case errors.Is(err, natscontext.ErrInvalidName):
		return nil, usagef("context %q: %w", c.context, err)
	case err != nil:
		return nil, fmt.Errorf("context %q: %w", c.context, err)
	}
	return found, nil
}

// withoutIdentity removes what a context says about who we are.
func withoutIdentity(o *nats.Options) error {
	o.User, o.Password, o.Token, o.Nkey = "", "", "", ""
	o.TokenHandler, o.UserJWT, o.SignatureCB = nil, nil, nil
	return nil
}

// session is an open connection with what commands need beside it.
type session struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	ns    subject.Namespace
	where string // the server, for messages

	patience time.Duration // how long to wait for an answer
}

func (s *session) Close() { s.nc.Close() }

// connect opens the connection that flags, environment and context ask for.
// The caller closes the session.
func (a *app) connect(ctx context.Context, opts ...nats.Option) (*session, error) {
	c := &a.connection
	if err := c.resolve(a); err != nil {
		return nil, err
	}
	place, err := c.place()
	if err != nil {
		return nil, err
	}
	all, err := place.NATSOptions()
	if err != nil {
		return nil, fmt.Errorf("context %q: %w", place.Name, err)
	}
	if c.identified() {
		own, err := c.identity()
		if err != nil {
			return nil, err
		}
		all = append(append(all, withoutIdentity), own...)
	}
	all = append(all, nats.Name("natsctl"), nats.Timeout(c.timeout), nats.ErrorHandler(a.onConnError))
	all = append(all, opts...)
	where := redacted(place.ServerURL())
	nc, err := dial(ctx, place.ServerURL(), all)
	if err != nil {
		return nil, c.explain(err, where, place.Name)
	}
	js, err := newJetStream(nc, place, c.timeout)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &session{nc: nc, js: js, ns: subject.Namespace(c.space), where: where, patience: c.timeout}, nil
}

// onConnError takes the errors that belong to no request, which nats.go would
// print. One of them explains why an answer never came: that we may not ask.
func (a *app) onConnError(_ *nats.Conn, _ *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		a.refused.CompareAndSwap(nil, &err)
	}
}

// permission gives the reason of an err that says no more than that nobody
// answered: err itself, unless the server has refused us something.
func (a *app) permission(err error) error {
	refusal := a.refused.Load()
	if refusal == nil || err != nil && exitCode(err) != exitNoAnswer {
		return err
	}
	return coded(exitError, "connect as somebody who may do this (--creds, --user, --context): %w", *refusal)
}

// dial connects, or gives up when ctx ends: nats.Connect knows no context.
func dial(ctx context.Context, servers string, opts []nats.Option) (*nats.Conn, error) {
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		nc, err := nats.Connect(servers, opts...)
		done <- result{nc, err}
	}()
	select {
	case r := <-done:
		return r.nc, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func newJetStream(nc *nats.Conn, place *natscontext.Context, timeout time.Duration) (jetstream.JetStream, error) {
	var js jetstream.JetStream
	var err error
	opt := jetstream.WithDefaultTimeout(timeout)
	switch {
	case place.JSDomain() != "":
		js, err = jetstream.NewWithDomain(nc, place.JSDomain(), opt)
	case place.JSAPIPrefix() != "":
		js, err = jetstream.NewWithAPIPrefix(nc, place.JSAPIPrefix(), opt)
	default:
		js, err = jetstream.New(nc, opt)
	}
	if err != nil {
		return nil, usagef("JetStream: %w", err)
	}
	return js, nil
}

// explain says what to do about a connection that did not come about.
func (c *connection) explain(err error, where, contextName string) error {
	from := ""
	if contextName != "" {
		from = fmt.Sprintf(" (context %q)", contextName)
	}
	var network *net.OpError
	var name *net.DNSError
	switch {
	case is(err, nats.ErrNoServers, nats.ErrTimeout) || errors.As(err, &network) || errors.As(err, &name):
		return noAnswerf("no server at %s%s: start one with `natsctl dev`, or name one with --server or NATS_URL", where, from)
	case is(err, nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked):
		return fmt.Errorf("%s%s refused us: give --creds, --user and --password, --nkey or --context: %w", where, from, err)
	}
	return fmt.Errorf("connect to %s%s: %w", where, from, err)
}

// redacted is a list of server URLs without their passwords.
func redacted(servers string) string {
	urls := strings.Split(servers, ",")
	for i, s := range urls {
		if u, err := url.Parse(strings.TrimSpace(s)); err == nil {
			urls[i] = u.Redacted()
		}
	}
	return strings.Join(urls, ",")
}
