package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/subject"
)

const (
	// A dead peer is noticed after pingEvery*(pingsLost+1) at most. nats.go's
	// own 2 minutes leave a service on a black-holed connection for 4.
	pingEvery = 2 * time.Second
	pingsLost = 2

	dialTimeout  = 2 * time.Second
	reconnectMin = 50 * time.Millisecond
	reconnectMax = 2 * time.Second
)

// Connect opens a connection with the options that survive:
//
//   - It reconnects for ever, at first after 50 ms, then after up to 2 s with
//     jitter, so that a fleet does not come back in step.
//   - It pings every 2 s and gives the connection up after two lost answers.
//   - An authentication error while reconnecting is retried like any other:
//     credentials are rotated while services run.
//   - Its inboxes begin with `_INBOX.<name>`, the [nats.Name] option's, so that
//     permissions can keep others from listening to replies.
//
// Options given here come after those and override them. Until ctx ends,
// Connect retries while no server can be reached, and returns a connection
// that is up: nats.RetryOnFailedConnect would return one that is not. An
// authentication error in this first connect, and one in the options, is
// returned at once. Connect returns at most one dial timeout (2 s) after ctx
// has ended.
func Connect(ctx context.Context, url string, opts ...nats.Option) (*nats.Conn, error) {
	all := append(survive(), opts...)
	prefix, err := inboxPrefix(opts)
	if err != nil {
		return nil, fmt.Errorf("service: connect: %w", err)
	}
	if prefix != "" {
		all = append(all, nats.CustomInboxPrefix(prefix))
	}
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("service: connect: %w", context.Cause(ctx))
		}
		nc, err := nats.Connect(url, all...)
		if err == nil {
			return nc, nil
		}
		if !passing(err) {
			return nil, fmt.Errorf("service: connect: %w", err)
		}
		wait := time.NewTimer(reconnectDelay(attempt))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil, fmt.Errorf("service: connect: %w, last: %w", context.Cause(ctx), err)
		}
	}
}

func survive() []nats.Option {
	return []nats.Option{
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(reconnectDelay),
		nats.Timeout(dialTimeout),
		nats.PingInterval(pingEvery),
		nats.MaxPingsOutstanding(pingsLost),
		nats.IgnoreAuthErrorAbort(),
	}
}

// reconnectDelay doubles from the minimum to the maximum, jittered over its
// upper half.
func reconnectDelay(attempt int) time.Duration {
	d := reconnectMin << min(max(attempt-1, 0), 10)
	d = min(d, reconnectMax)
	return d/2 + rand.N(d/2+1) //nolint:gosec // jitter, not a secret
}

// inboxPrefix derives the prefix from the name, unless the options set one.
func inboxPrefix(opts []nats.Option) (string, error) {
	o := nats.GetDefaultOptions()
	for _, opt := range opts {
		if opt == nil {
			continue
		}
		if err := opt(&o); err != nil {
			return "", err
		}
	}
	if o.Name == "" || o.InboxPrefix != "" {
		return "", nil
	}
	token := strings.ReplaceAll(subject.Token(o.Name), "%", "_")
	return "_INBOX." + token[:min(len(token), subject.MaxNameLen)], nil
}

// passing tells whether a failed first connect is worth another try: no server
// was there, or it went away. All else, such as refused credentials, a bad
// certificate or a bad URL, needs a person.
func passing(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	if errors.As(err, &op) || errors.As(err, &dns) {
		return true
	}
	for _, e := range []error{
		nats.ErrNoServers, nats.ErrTimeout, nats.ErrStaleConnection, nats.ErrConnectionClosed,
		nats.ErrMaxConnectionsExceeded, io.EOF, os.ErrDeadlineExceeded,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
