package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/service"
)

// fleetNow is who answers and who is registered, in one list.
func (s *session) fleetNow(ctx context.Context, name string) (fleet, error) {
	var registered []service.Instance
	var regErr error
	var looking sync.WaitGroup
	expected := make(chan []service.Instance, 1)
	looking.Go(func() {
		if registered, regErr = s.registered(ctx, name); len(registered) > 0 {
			expected <- registered
		}
	})
	found, err := s.discover(ctx, name, expected)
	looking.Wait()
	if err != nil {
		return nil, err
	}
	if regErr != nil && len(found) == 0 {
		return nil, regErr
	}
	return found.with(registered), nil
}

// registered asks the bucket of instances. A server without JetStream has none.
func (s *session) registered(ctx context.Context, name string) ([]service.Instance, error) {
	client, err := service.NewClient(s.nc, service.ClientConfig{Namespace: string(s.ns)})
	if err != nil {
		return nil, err
	}
	all, err := service.Instances(ctx, client, name)
	switch {
	case is(err, jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("registered instances: %w", err)
	}
	return all, nil
}

// with adds what instances say of themselves in the bucket.
func (f fleet) with(registered []service.Instance) fleet {
	at := make(map[[2]string]int, len(f))
	for n, i := range f {
		at[[2]string{i.Service, i.Instance}] = n
	}
	for _, r := range registered {
		n, answers := at[[2]string{r.Service, r.ID}]
		if !answers {
			n = len(f)
			f = append(f, instance{
				Service: r.Service, Instance: r.ID, Version: r.Version, Metadata: r.Metadata, Started: r.Started, Endpoints: []endpoint{},
			})
			for _, name := range r.Endpoints {
				f[n].Endpoints = append(f[n].Endpoints, endpoint{Name: name})
			}
		}
		f[n].State, f[n].Host, f[n].Load, f[n].Incarnation = string(r.State), r.Host, r.Load, r.Incarnation
	}
	f.sort()
	return f
}
