package service

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
)

// The discovery protocol of nats.go/micro: three verbs on `$SRV.<verb>`,
// `$SRV.<verb>.<name>` and `$SRV.<verb>.<name>.<id>`, answered in micro's JSON
// so that `nats service ls|info|stats|ping` work. Agner answers it itself,
// because micro replies to any reply subject, has random ids, and counts only
// the part of a handler that runs on its own goroutine.
const (
	verbPing  = "PING"
	verbInfo  = "INFO"
	verbStats = "STATS"

	// discoveryInbox is how many requests may wait; a fleet-wide listing asks
	// each instance once.
	discoveryInbox = 256
)

// serviceIdentity leads each of the three answers.
type serviceIdentity struct {
	Type     string            `json:"type"`
	Name     string            `json:"name"`
	ID       string            `json:"id"`
	Version  string            `json:"version"`
	Metadata map[string]string `json:"metadata"`
}

type infoResponse struct {
	serviceIdentity
	Description string         `json:"description"`
	Endpoints   []endpointInfo `json:"endpoints"`
}

type endpointInfo struct {
	Name       string            `json:"name"`
	Subject    string            `json:"subject"`
	QueueGroup string            `json:"queue_group"`
	Metadata   map[string]string `json:"metadata"`
}

type statsResponse struct {
	serviceIdentity
	Started   time.Time       `json:"started"`
	Endpoints []endpointStats `json:"endpoints"`
}

type endpointStats struct {
	Name                  string          `json:"name"`
	Subject               string          `json:"subject"`
	QueueGroup            string          `json:"queue_group"`
	NumRequests           int64           `json:"num_requests"`
	NumErrors             int64           `json:"num_errors"`
	LastError             string          `json:"last_error"`
	ProcessingTime        time.Duration   `json:"processing_time"`
	AverageProcessingTime time.Duration   `json:"average_processing_time"`
	Data                  *EndpointStatus `json:"data,omitempty"` // what micro has no field for
}

// discoverySubjects are those that one verb is asked on.
func discoverySubjects(verb, name, id string) []string {
	return []string{"$SRV." + verb, "$SRV." + verb + "." + name, "$SRV." + verb + "." + name + "." + id}
}

// startDiscovery answers until the listener is stopped.
func (s *Service) startDiscovery() (*listener, error) {
	name, id := s.discoveryName(), s.id.Instance
	var subjects []string
	for _, verb := range []string{verbPing, verbInfo, verbStats} {
		subjects = append(subjects, discoverySubjects(verb, name, id)...)
	}
	l, err := listen(s.nc, discoveryInbox, s.onDiscovery, subjects...)
	if err != nil {
		return nil, fmt.Errorf("service %s: discovery: %w", s.id.Name, err)
	}
	return l, nil
}

// discoveryName is the service's name with its namespace, which the protocol
// does not know: two environments in one account stay two services.
func (s *Service) discoveryName() string { return s.addr.ns.Stream(s.id.Name) }

func (s *Service) onDiscovery(m *nats.Msg) {
	if m.Reply == "" {
		return
	}
	if !s.guard.allows(m.Reply) {
		n := s.badReplies.Add(1)
		if s.badReplyLog.allow() {
			s.log.Warn("discovery request dropped: its reply subject is no inbox",
				"service", s.id.Name, "subject", m.Subject, "reply", onLine(m.Reply, 200), "dropped_so_far", n)
		}
		return
	}
	data, err := json.Marshal(s.discover(m.Subject))
	if err == nil {
		err = s.nc.Publish(m.Reply, data)
	}
	if err != nil {
		s.log.Warn("discovery reply not sent", "service", s.id.Name, "error", err)
	}
}

// discover builds the answer to the verb in a subject.
func (s *Service) discover(subject string) any {
	id := serviceIdentity{
		Name: s.discoveryName(), ID: s.id.Instance, Version: s.id.Version, Metadata: orEmpty(s.metadata),
	}
	switch subject[len("$SRV."):][0] {
	case verbInfo[0]:
		id.Type = "io.nats.micro.v1.info_response"
		return infoResponse{serviceIdentity: id, Description: s.description, Endpoints: s.endpointInfos()}
	case verbStats[0]:
		id.Type = "io.nats.micro.v1.stats_response"
		return statsResponse{serviceIdentity: id, Started: s.Status().Started, Endpoints: s.endpointStats()}
	default:
		id.Type = "io.nats.micro.v1.ping_response"
		return id
	}
}

func (s *Service) endpointInfos() []endpointInfo {
	infos := make([]endpointInfo, 0, len(s.endpoints))
	for _, ep := range s.endpoints {
		infos = append(infos, endpointInfo{
			Name: ep.name, Subject: s.addr.any(ep.name), QueueGroup: queueGroup, Metadata: ep.shown(),
		})
	}
	return infos
}

func (s *Service) endpointStats() []endpointStats {
	all := make([]endpointStats, 0, len(s.endpoints))
	for _, e := range s.endpointStatus() {
		st := endpointStats{
			Name: e.Name, Subject: e.Subject, QueueGroup: queueGroup,
			NumRequests: e.Requests, NumErrors: e.Errors, LastError: e.LastError,
			ProcessingTime: e.Time, Data: &e,
		}
		if e.Handled > 0 {
			st.AverageProcessingTime = e.Time / time.Duration(e.Handled)
		}
		all = append(all, st)
	}
	return all
}

// shown is the endpoint's metadata with what Agner adds.
func (e *endpoint) shown() map[string]string {
	m := orEmpty(e.metadata)
	if e.idempotent {
		m[metaIdempotent] = "true"
	}
	return m
}

// orEmpty is for the protocol's schema, in which metadata is never null.
func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}
