package service

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"github.com/agner-go/agner/internal/fleetlog"
	"github.com/agner-go/agner/internal/presence"
	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/pkg/supervise"
)

// DefaultPresenceTTL is how long an instance that does not renew its entry
// counts as up.
const DefaultPresenceTTL = presence.DefaultTTL

// PresenceConfig says how an instance shows that it is there, see [Instances].
type PresenceConfig struct {
	// TTL is how long the entry lives without a renewal, in whole seconds; it is
	// renewed every half of it. Default 3 s.
	TTL time.Duration

	// Load is shown to others: 0 for idle, 1 for all places taken. It is asked
	// every half TTL and rounded to tenths. Default: the share of the places of
	// endpoints and subscriptions that are taken.
	Load func() float64

	// Off registers nothing and writes no fleet log: for servers without
	// JetStream.
	Off bool
}

// bind tells whether nothing may be made on the server.
func (s *Service) bind() bool { return s.cfg.Provision != nil && !*s.cfg.Provision }

const instancesDescription = "Agner: instances that are up"

// record is what stands in the bucket for an instance (docs/wire.md).
type record struct {
	Service   string            `json:"service"`
	Instance  string            `json:"instance"`
	State     State             `json:"state"`
	Version   string            `json:"version"`
	Host      string            `json:"host,omitempty"`
	PID       int               `json:"pid,omitempty"`
	Started   time.Time         `json:"started,omitzero"`
	Load      float64           `json:"load"`
	Endpoints []string          `json:"endpoints,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

// presenceChild registers the instance, and writes the fleet log. It is the
// first to start and the last to stop.
func (s *Service) presenceChild() supervise.Child {
	return supervise.Child{Name: childPresence, Runner: supervise.ReadyFunc(s.runPresence)}
}

func (s *Service) openInstances(ctx context.Context, bind bool) (*presence.Bucket, error) {
	return presence.Open(ctx, s.js, presence.Config{
		Name: stream.InstancesName, Namespace: s.addr.ns, TTL: s.cfg.Presence.TTL,
		Description: instancesDescription, Bind: bind,
		Replicas: s.cfg.Publish.Replicas, Durability: s.cfg.Durability, Logger: s.log,
	})
}

func (s *Service) runPresence(ctx context.Context, ready func()) error {
	ready()
	logging, stopLog := context.WithCancel(context.WithoutCancel(ctx))
	var logger, observer sync.WaitGroup
	logger.Go(func() { _ = s.fleet.Run(logging) }) // it has no error to give
	defer logger.Wait()
	defer stopLog()
	observer.Go(func() { s.observe(ctx) })
	defer observer.Wait()

	host, err := os.Hostname()
	if err != nil {
		s.log.WarnContext(ctx, "presence: the host has no name", "error", err)
	}
	k := &presence.Keeper{
		Open: func(ctx context.Context) (*presence.Bucket, error) {
			return s.openInstances(ctx, s.bind())
		},
		Key:   instanceKey(s.id.Name, s.id.Instance),
		Value: s.recorder(host), Changed: s.changed, Tell: s.tellPresence,
	}
	if err := k.Run(ctx); err != nil {
		s.log.WarnContext(ctx, "presence: no goodbye; the entry expires by itself", "error", err)
	}
	return nil
}

// recorder returns what gives the instance as it is now. It is asked twice in
// each TTL and nearly always has the answer already; one caller at a time.
func (s *Service) recorder(host string) func() []byte {
	var last record
	var data []byte
	return func() []byte {
		s.mu.Lock()
		state, started := s.state, s.started
		s.mu.Unlock()
		load := s.shownLoad()
		if data != nil && state == last.State && started.Equal(last.Started) && load == last.Load {
			return data
		}
		last = record{
			Service: s.id.Name, Instance: s.id.Instance, State: state, Version: s.id.Version,
			Host: host, PID: os.Getpid(), Started: started, Load: load, Metadata: s.metadata,
		}
		for _, ep := range s.endpoints {
			last.Endpoints = append(last.Endpoints, ep.name)
		}
		encoded, err := json.Marshal(last)
		if err != nil { // of plain fields only
			s.log.Error("presence: the record cannot be written", "error", err)
		}
		data = encoded
		return data
	}
}

// shownLoad is the load in tenths.
func (s *Service) shownLoad() float64 {
	load := s.load
	if s.cfg.Presence.Load != nil {
		load = s.cfg.Presence.Load
	}
	if l := load(); l > 0 && !math.IsInf(l, 0) {
		return math.Round(l*10) / 10
	}
	return 0
}

// load is the share of places that are taken.
func (s *Service) load() float64 {
	var taken, places int
	for _, e := range s.endpointStatus() {
		taken, places = taken+e.Running+e.Waiting, places+e.Concurrency
	}
	if s.consumer != nil {
		for _, sub := range s.consumer.Status().Subscriptions {
			taken += sub.Running
		}
		places += len(s.consumer.Status().Subscriptions) * s.cfg.Consume.Concurrency
	}
	if places == 0 {
		return 0
	}
	return float64(taken) / float64(places)
}

// presenceChanged has the entry written at once.
func (s *Service) presenceChanged() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// tellPresence logs what becomes of the entry.
func (s *Service) tellPresence(r presence.Report) {
	log := s.log.With("service", s.id.Name, "instance", s.id.Instance)
	s.mu.Lock()
	state := s.state
	s.mu.Unlock()
	up := fleetlog.Record{
		Kind: fleetlog.KindUp, Object: string(state),
		Detail: map[string]string{"version": s.id.Version, "incarnation": r.Lease},
	}
	switch r.Kind {
	case presence.Registered:
		if r.Before.State == presence.Held {
			log.Info("presence: registered in the place of an earlier process of this name", "before", r.Before.Lease)
			s.fleet.Write(downRecord(instanceOf(r.Before), ReasonReplaced, "down-"+r.Before.Lease, ""))
		}
		s.fleet.Write(up)
	case presence.Failing:
		log.Warn("presence: the entry cannot be renewed; trying on", "error", r.Err)
	case presence.Recovered:
		log.Info("presence: the entry is renewed again", "away", r.Away)
	case presence.Resumed:
		log.Info("presence: the entry had expired for want of a server; nobody was told", "away", r.Away)
	case presence.Returned:
		log.Warn("presence: this process was paused or cut off and was declared down; it is registered anew",
			"away", r.Away, "incarnation", r.Lease)
		if r.Before.State == presence.Expired {
			s.fleet.Write(expiredRecord(r.Before, Instance{Service: s.id.Name, ID: s.id.Instance}, s.id.String()))
		}
		s.fleet.Write(fleetlog.Record{
			Kind: fleetlog.KindReturned, Reason: string(r.Before.State),
			Text:   fmt.Sprintf("did not renew for %s and was declared down", r.Away.Round(time.Millisecond)),
			Detail: map[string]string{"incarnation": r.Lease},
		})
		s.fleet.Write(up)
	case presence.Replaced:
		log.Error("presence: another process has this instance's name; give each instance its own",
			"incarnation", r.Before.Lease)
	case presence.Left:
		s.fleet.Write(downRecord(Instance{Service: s.id.Name, ID: s.id.Instance, Incarnation: r.Lease}, ReasonGoodbye, "down-"+r.Lease, ""))
	}
}

// String names the instance in the fleet log.
func (id identity) String() string { return id.Name + "/" + id.Instance }
