package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// What nats.go/micro, and with it every Agner service, answers on $SRV.
const (
	discoverSubject = "$SRV."
	verbInfo        = "INFO"
	verbStats       = "STATS"

	// discoverQuiet ends a listing: nobody has answered for so long, or for
	// discoverFactor times what the last answer took, if that is more. All
	// instances are asked at once, so that they answer at about one time.
	discoverQuiet  = 300 * time.Millisecond
	discoverFactor = 3
)

// instance is one instance of a service, as it describes itself.
type instance struct {
	Service     string            `json:"service"`
	Instance    string            `json:"instance"`
	Version     string            `json:"version"`
	State       string            `json:"state,omitempty"` // as registered; empty of what registers nowhere
	Answers     bool              `json:"answers"`
	Host        string            `json:"host,omitempty"`
	Load        float64           `json:"load,omitempty"`
	Incarnation string            `json:"incarnation,omitempty"`
	Description string            `json:"description,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	Started     time.Time         `json:"started,omitzero"`
	Endpoints   []endpoint        `json:"endpoints"`
}

// endpoint is one endpoint of an instance, with what it did so far.
type endpoint struct {
	Name      string        `json:"name"`
	Subject   string        `json:"subject"`
	Requests  int64         `json:"requests"`
	Errors    int64         `json:"errors"`
	Average   time.Duration `json:"average_ns"` // processing time of a request
	LastError string        `json:"last_error,omitempty"`
}

// answer holds the fields of both answers that are of use here.
type answer struct {
	Type        string            `json:"type"`
	Name        string            `json:"name"`
	ID          string            `json:"id"`
	Version     string            `json:"version"`
	Description string            `json:"description"`
	Metadata    map[string]string `json:"metadata"`
	Started     time.Time         `json:"started"`
	Endpoints   []struct {
		Name      string        `json:"name"`
		Subject   string        `json:"subject"`
		Requests  int64         `json:"num_requests"`
		Errors    int64         `json:"num_errors"`
		LastError string        `json:"last_error"`
		Average   time.Duration `json:"average_processing_time"`
	} `json:"endpoints"`
}

// fleet is what answered, sorted by service and instance.
type fleet []instance

// discover asks all instances of a service, or of every service, who they are
// and what they did. It returns when nobody has answered for a moment, when the
// server says that nobody listens, or when ctx ends. The names of services are
// those within the namespace.
func (s *session) discover(ctx context.Context, name string) (fleet, error) {
	inbox := s.nc.NewRespInbox()
	sub, err := s.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("discover services: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection is closed soon after
	for _, verb := range []string{verbInfo, verbStats} {
		subj := discoverSubject + verb
		if name != "" {
			subj += "." + s.ns.Stream(name)
		}
		if err := s.nc.PublishRequest(subj, inbox, nil); err != nil {
			return nil, fmt.Errorf("discover services: %w", err)
		}
	}
	g := gathering{ns: s.ns.Stream(""), found: map[string]*instance{}}
	asked := time.Now()
	var quiet time.Duration // for the first answer as long as it takes
	for g.silent < 2 {
		m, err := nextWithin(ctx, sub, quiet)
		if err != nil {
			break // quiet, or out of time: what has answered is the answer
		}
		g.add(m)
		quiet = max(discoverQuiet, discoverFactor*time.Since(asked))
	}
	if s.nc.IsClosed() {
		return nil, fmt.Errorf("discover services: %w", nats.ErrConnectionClosed)
	}
	return g.sorted(), nil
}

// nextWithin waits for a message, at most for a limit if that is not 0.
func nextWithin(ctx context.Context, sub *nats.Subscription, limit time.Duration) (*nats.Msg, error) {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	return sub.NextMsgWithContext(ctx)
}

// gathering puts the two answers of each instance together.
type gathering struct {
	ns     string
	found  map[string]*instance
	silent int // requests that nobody listens to, which the server says at once
}

func (g *gathering) add(m *nats.Msg) {
	const noResponders = "503"
	if len(m.Data) == 0 && m.Header.Get("Status") == noResponders {
		g.silent++
		return
	}
	var a answer
	if json.Unmarshal(m.Data, &a) != nil || a.Name == "" || a.ID == "" {
		return // somebody else's idea of an answer
	}
	name, ours := strings.CutPrefix(a.Name, g.ns)
	if !ours {
		return
	}
	i := g.found[a.Name+" "+a.ID]
	if i == nil {
		i = &instance{Service: name, Instance: a.ID, Answers: true, Endpoints: []endpoint{}}
		g.found[a.Name+" "+a.ID] = i
	}
	i.Version = a.Version
	i.Metadata = a.Metadata
	i.Description = cmp.Or(a.Description, i.Description)
	if a.Started.After(i.Started) {
		i.Started = a.Started
	}
	for _, e := range a.Endpoints {
		i.merge(endpoint{e.Name, e.Subject, e.Requests, e.Errors, e.Average, e.LastError})
	}
}

// merge adds an endpoint, or what the other answer says about it.
func (i *instance) merge(e endpoint) {
	at := slices.IndexFunc(i.Endpoints, func(have endpoint) bool { return have.Name == e.Name })
	switch {
	case at < 0:
		i.Endpoints = append(i.Endpoints, e)
	case e.Requests > 0:
		i.Endpoints[at] = e
	}
}

func (g *gathering) sorted() fleet {
	all := make(fleet, 0, len(g.found))
	for _, i := range g.found {
		slices.SortFunc(i.Endpoints, func(a, b endpoint) int { return cmp.Compare(a.Name, b.Name) })
		all = append(all, *i)
	}
	all.sort()
	return all
}

func (f fleet) sort() {
	slices.SortFunc(f, func(a, b instance) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Instance, b.Instance))
	})
}

func (f fleet) endpoints() map[string]bool {
	names := map[string]bool{}
	for _, i := range f {
		for _, e := range i.Endpoints {
			names[e.Name] = true
		}
	}
	return names
}

func (f fleet) instances() map[string]bool {
	names := map[string]bool{}
	for _, i := range f {
		names[i.Instance] = true
	}
	return names
}

// sorted is a list of names for a message.
func sorted(names map[string]bool) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(sortedKeys(names), ", ")
}

func sortedKeys(names map[string]bool) []string { return slices.Sorted(maps.Keys(names)) }
