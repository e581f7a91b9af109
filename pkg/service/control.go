package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/control"
)

const (
	// controlInbox is how many requests may wait; what exceeds it is dropped.
	controlInbox = 64
	// controlTimeout bounds an act whose request says nothing.
	controlTimeout = 5 * time.Second
	// maxControlReply bounds a reply, if the server's own limit is not lower.
	maxControlReply = 1 << 20
	// replyMargin is left below that limit for the reply around its data.
	replyMargin = 1 << 10
)

// controller answers the control subjects during one Run: each access one
// request after the other, on goroutines of their own, so that an act that
// takes long keeps nobody from looking.
type controller struct {
	service   *Service
	run       context.Context //nolint:containedctx // of the Run that it is part of
	listeners []*listener
	lastDump  time.Time // of the goroutine that reads
}

// startControl listens until stop: from before the first child is started, and
// until after the last has ended, since that is when people look.
func (s *Service) startControl(ctx context.Context) (*controller, error) {
	c := &controller{service: s, run: ctx}
	where := func(a control.Access, service, instance string) string {
		return control.Subject(s.addr.ns, a, service, instance, "*")
	}
	name, id := s.id.Name, s.id.Instance
	before := s.nc.LastError()
	err := c.listen(c.onRead,
		where(control.Read, name, id), where(control.Read, name, control.All), where(control.Read, control.All, control.All))
	if err == nil && s.cfg.Admin {
		err = c.listen(c.onAdmin, where(control.Admin, name, id))
	}
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("service %s: control: %w", name, err)
	}
	c.checkPermission(ctx, before)
	return c, nil
}

// checkPermission finds out whether the server lets us listen: it refuses with
// an error that belongs to no request. A service that may not be looked at
// serves all the same, and the error must not be taken for an endpoint's later.
func (c *controller) checkPermission(ctx context.Context, before error) {
	s := c.service
	if !s.nc.IsConnected() || flush(ctx, s.nc) != nil {
		return
	}
	if err := s.nc.LastError(); err != before && errors.Is(err, nats.ErrPermissionViolation) { //nolint:errorlint // asks whether it is a new one
		s.log.WarnContext(ctx, "operators cannot reach this instance: grant it the subjects of docs/permissions.md",
			"service", s.id.Name, "error", err)
	}
}

func (c *controller) listen(handle func(*nats.Msg), subjects ...string) error {
	l, err := listen(c.service.nc, controlInbox, handle, subjects...)
	if err == nil {
		c.listeners = append(c.listeners, l)
	}
	return err
}

func (c *controller) stop() {
	for _, l := range c.listeners {
		l.stop()
	}
}

// onRead answers a verb that only looks.
func (c *controller) onRead(m *nats.Msg) {
	if !c.answerable(m) {
		return
	}
	verb := control.Verb(m.Subject)
	answer, err := c.read(verb, m.Data)
	c.reply(m, verb, answer, err)
}

// onAdmin does what it is told and says so, to the asker and to the log.
func (c *controller) onAdmin(m *nats.Msg) {
	if !c.answerable(m) {
		return
	}
	timeout, err := grantedTime(m)
	if err != nil {
		c.reply(m, "", answer{}, Errorf(CodeInvalidArgument, "%w", err))
		return
	}
	if timeout == 0 {
		timeout = controlTimeout
	}
	ctx, cancel := context.WithTimeout(c.run, timeout)
	defer cancel()
	verb := control.Verb(m.Subject)
	p, err := c.act(ctx, verb, m)
	c.reply(m, verb, answer{data: p.done}, err)
	if p.last != nil {
		p.last()
	}
}

// answerable drops what cannot be answered: without a reply subject nobody
// would learn of the outcome, and another than an inbox is an attack.
func (c *controller) answerable(m *nats.Msg) bool {
	s := c.service
	if m.Reply != "" && s.guard.allows(m.Reply) {
		return true
	}
	n := s.badReplies.Add(1)
	if s.badReplyLog.allow() {
		s.log.Warn("control request dropped: its reply subject is no inbox",
			"service", s.id.Name, "subject", m.Subject, "reply", onLine(m.Reply, 200), "dropped_so_far", n)
	}
	return false
}

// answer is the data of a reply, with how to make less of it. shrink is given
// its encoded size and the limit, and says how much it left out, or that it can
// do no more.
type answer struct {
	data   any
	shrink func(size, limit int) (omitted int, ok bool)
}

func (c *controller) reply(m *nats.Msg, verb string, a answer, err error) {
	s := c.service
	var out *nats.Msg
	if err == nil {
		out, err = c.encode(m.Reply, verb, a)
	}
	if err != nil {
		var failure *Error
		if !errors.As(err, &failure) {
			failure = Errorf(CodeInternal, "%w", err) // an operator may read it: there is no secret of a handler in it
		}
		out, err = errorReply(m.Reply, s.id.Instance, failure)
	}
	if err == nil {
		err = s.nc.PublishMsg(out)
	}
	if err != nil {
		s.log.Warn("control reply not sent", "service", s.id.Name, "verb", verb, "error", err)
	}
}

// encode makes a reply that the server takes.
func (c *controller) encode(to, verb string, a answer) (*nats.Msg, error) {
	s := c.service
	limit := min(int(s.nc.MaxPayload()), maxControlReply) - replyMargin
	r := control.Reply{
		Service: s.id.Name, Instance: s.id.Instance, Version: s.id.Version, Verb: verb, Time: time.Now().UTC(),
	}
	for {
		data, err := json.Marshal(a.data)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", verb, err)
		}
		if len(data) <= limit {
			r.Data = data
			break
		}
		omitted, ok := 0, false
		if a.shrink != nil {
			omitted, ok = a.shrink(len(data), limit)
		}
		if !ok {
			return nil, Errorf(CodeResourceExhausted, "the answer of %d bytes exceeds the limit of %d: ask for less", len(data), limit)
		}
		r.Truncated = true
		r.Omitted += omitted
	}
	body, err := json.Marshal(r)
	return &nats.Msg{Subject: to, Data: body}, err
}

// decode reads a request strictly: a misspelt field must not turn the pause of
// one subscription into that of all.
func decode(data []byte, into any) error {
	if len(data) == 0 {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil && d.More() {
		err = errors.New("more than one JSON value")
	}
	if err != nil {
		return Errorf(CodeInvalidArgument, "request: %w", err)
	}
	return nil
}

func noVerb(a control.Access, verb string) error {
	if other := map[control.Access]control.Access{control.Read: control.Admin, control.Admin: control.Read}[a]; slices.Contains(control.Verbs(other), verb) {
		return Errorf(CodeUnimplemented, "%s is a verb of agner.%s, not of agner.%s", verb, other, a)
	}
	return Errorf(CodeUnimplemented, "no verb %.40q of agner.%s: there are %s", verb, a, strings.Join(control.Verbs(a), ", "))
}
