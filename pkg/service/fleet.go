package service

import (
	"strconv"

	"github.com/agner-go/agner/internal/fleetlog"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/supervise"
)

// newFleetLog makes the writer of the fleet log, nil if presence is off.
func (s *Service) newFleetLog() *fleetlog.Writer {
	if s.cfg.Presence.Off {
		return nil
	}
	return fleetlog.NewWriter(s.js, fleetlog.Config{
		Namespace: s.addr.ns, Service: s.id.Name, Instance: s.id.Instance,
		Bind: s.bind(), Replicas: s.cfg.Publish.Replicas,
		Durability: s.cfg.Durability, Logger: s.log,
	})
}

// onTransition puts what an operator asks for later into the fleet log: what
// failed, not each start and stop.
func (s *Service) onTransition(e supervise.Event) {
	var kind fleetlog.Kind
	switch e.To {
	case supervise.StateBackoff:
		kind = fleetlog.KindRestarted
	case supervise.StateAbandoned:
		kind = fleetlog.KindAbandoned
	case supervise.StateFailed:
		kind = fleetlog.KindGaveUp
	default:
		return
	}
	r := fleetlog.Record{Kind: kind, Time: e.Time, Object: e.Path}
	if e.Err != nil {
		r.Text = e.Err.Error()
	}
	s.fleet.Write(r)
}

// withTransitions puts the service's own hook before the user's.
func (s *Service) withTransitions(user func(supervise.Event)) func(supervise.Event) {
	return func(e supervise.Event) {
		s.onTransition(e)
		if user != nil {
			user(e)
		}
	}
}

// onNotice does so with what happens to subscriptions.
func (s *Service) onNotice(n consume.Notice) {
	r := fleetlog.Record{
		Kind: fleetlog.Kind(n.Kind), Time: n.Time, Object: n.Durable, Reason: n.Reason, Detail: map[string]string{},
	}
	if n.Err != nil {
		r.Text = n.Err.Error()
	}
	for name, value := range map[string]string{"event": n.EventID, "type": n.EventType, "key": n.EventKey} {
		if value != "" {
			r.Detail[name] = value
		}
	}
	if n.Events > 0 {
		r.Detail["events"] = strconv.FormatUint(n.Events, 10)
	}
	s.fleet.Write(r)
}

func (s *Service) withNotices(user func(consume.Notice)) func(consume.Notice) {
	return func(n consume.Notice) {
		s.onNotice(n)
		if user != nil {
			user(n)
		}
	}
}
