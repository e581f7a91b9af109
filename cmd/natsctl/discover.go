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

	"github.com/agner-go/agner/pkg/service"
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
	// discoverWithin is after how long nothing but discoverQuiet is waited for,
	// unless --timeout asks for more patience than its default.
	discoverWithin = 800 * time.Millisecond
	// discoverRest is what is left to wait, for those that register nowhere, when
	// all that are registered have answered; or a quarter of what that took.
	discoverRest = 150 * time.Millisecond
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
// server says that nobody listens, or when ctx ends; soon after the last one
// that is registered, if registered tells of any. The names of services are
// those within the namespace.
func (s *session) discover(ctx context.Context, name string, registered <-chan []service.Instance) (fleet, error) {
	inbox := s.nc.NewRespInbox()
	answers := make(chan *nats.Msg, nats.DefaultMaxChanLen)
	sub, err := s.nc.ChanSubscribe(inbox, answers)
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
	g := gathering{ns: s.ns.Stream(""), found: map[string]*gathered{}}
	asked := time.Now()
	var last time.Duration             // what the last answer took
	quiet := time.NewTimer(s.patience) // for the first answer as long as it takes
	defer quiet.Stop()
	for waiting := true; waiting && g.silent < 2; {
		select {
		case m := <-answers:
			g.add(m)
			last = time.Since(asked)
			quiet.Reset(g.wait(last, s.patience))
		case all := <-registered:
			registered = nil
			g.expect(all)
			took := time.Since(asked)
			switch {
			case len(g.found) > 0:
				quiet.Reset(g.wait(last, s.patience) - (took - last))
			case s.patience <= defaultTimeout: // the server is as far as that, and all of them may hang
				quiet.Reset(max(discoverWithin, discoverFactor*took) - took)
			}
		case <-quiet.C:
			waiting = false
		case <-ctx.Done(): // what has answered is the answer
			waiting = false
		}
	}
	if s.nc.IsClosed() {
		return nil, fmt.Errorf("discover services: %w", nats.ErrConnectionClosed)
	}
	return g.sorted(), nil
}

// gathering puts the two answers of each instance together.
type gathering struct {
	ns      string
	found   map[string]*gathered
	silent  int                 // requests that nobody listens to, which the server says at once
	missing map[string]struct{} // registered, and not all of its answers came; nil if not known
}

type gathered struct {
	instance
	types map[string]struct{} // of the answers that came
}

// expect is told who is registered.
func (g *gathering) expect(registered []service.Instance) {
	g.missing = make(map[string]struct{}, len(registered))
	for _, r := range registered {
		key := g.ns + r.Service + " " + r.ID
		if i := g.found[key]; i == nil || !i.complete() {
			g.missing[key] = struct{}{}
		}
	}
}

func (i *gathered) complete() bool { return len(i.types) == 2 }

// wait is how long to wait for another answer after one that took so long.
func (g *gathering) wait(took, patience time.Duration) time.Duration {
	if g.missing != nil && len(g.missing) == 0 {
		return max(discoverRest, took/4)
	}
	long := discoverFactor * took
	if patience <= defaultTimeout {
		long = min(long, discoverWithin-took)
	}
	return max(discoverQuiet, long)
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
	key := a.Name + " " + a.ID
	i := g.found[key]
	if i == nil {
		i = &gathered{
			instance: instance{Service: name, Instance: a.ID, Answers: true, Endpoints: []endpoint{}},
			types:    make(map[string]struct{}, 2),
		}
		g.found[key] = i
	}
	if i.types[a.Type] = struct{}{}; i.complete() {
		delete(g.missing, key)
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
		all = append(all, i.instance)
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
