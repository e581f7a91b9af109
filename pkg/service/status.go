package service

import (
	"time"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/supervise"
)

// State is where a service is between two calls of Run.
type State string

// States of a service, in their order.
const (
	StateIdle     State = "idle"     // not running
	StateStarting State = "starting" // Run has begun, endpoints are not all there
	StateReady    State = "ready"    // calls and events are taken
	StateDraining State = "draining" // none are taken, those at work are finished
)

// Status is a service at one moment: a plain value, the same that tools print
// as JSON.
type Status struct {
	Name           string           `json:"name"`
	Instance       string           `json:"instance"`
	Version        string           `json:"version"`
	Namespace      string           `json:"namespace,omitempty"`
	State          State            `json:"state"`
	Started        time.Time        `json:"started,omitzero"` // of the last Run
	Endpoints      []EndpointStatus `json:"endpoints"`
	Events         *consume.Status  `json:"events,omitempty"` // nil without handlers of events
	Tree           supervise.Status `json:"tree"`
	RefusedReplies int64            `json:"refused_replies"` // requests whose reply subject was no inbox
}

// Status says what the service does. It is safe at any time.
func (s *Service) Status() Status {
	s.mu.Lock()
	st := Status{
		Name: s.id.Name, Instance: s.id.Instance, Version: s.id.Version, Namespace: s.cfg.Namespace,
		State: s.state, Started: s.started,
	}
	s.mu.Unlock()
	st.Endpoints = s.endpointStatus()
	st.RefusedReplies = s.badReplies.Load()
	st.Tree = s.tree.Status()
	if s.consumer != nil {
		events := s.consumer.Status()
		st.Events = &events
	}
	return st
}

func (s *Service) endpointStatus() []EndpointStatus {
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	all := make([]EndpointStatus, 0, len(s.endpoints))
	for i, ep := range s.endpoints {
		e := EndpointStatus{
			Name: ep.name, Subject: s.addr.any(ep.name), Concurrency: ep.concurrency, Queue: ep.queue,
		}
		ep.stats.snapshot(&e)
		if server != nil {
			if p := server.pools[i].Load(); p != nil {
				e.Running, e.Waiting = p.load()
				e.Dropped = p.feed.dropped()
			}
		}
		all = append(all, e)
	}
	return all
}
