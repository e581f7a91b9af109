package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/control"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/service"
)

// target is SERVICE/INSTANCE; either may be control.All.
type target struct{ service, instance string }

func (t target) String() string { return t.service + "/" + t.instance }

// parseTarget reads SERVICE/INSTANCE, or SERVICE for all of its instances.
func parseTarget(text string) (target, error) {
	name, instance, one := strings.Cut(text, "/")
	if !one {
		instance = control.All
	}
	if err := subject.CheckName("service", name); err != nil {
		return target{}, usagef("%w", err)
	}
	if err := subject.CheckName("instance", instance); err != nil {
		return target{}, usagef("%w", err)
	}
	return target{name, instance}, nil
}

// parseInstance reads SERVICE/INSTANCE.
func parseInstance(text string) (target, error) {
	t, err := parseTarget(text)
	if err == nil && t.instance == control.All {
		err = usagef("%q names no instance: SERVICE/INSTANCE, as `natsctl services` lists them", text)
	}
	return t, err
}

// observed is one instance's answer to a read verb.
type observed[T any] struct {
	Service   string `json:"service"`
	Instance  string `json:"instance"`
	Version   string `json:"version"`
	Truncated bool   `json:"truncated,omitempty"`
	Omitted   int    `json:"omitted,omitempty"`
	Data      T      `json:"data"`
}

// observe asks a read verb of all whom a target means, sorted.
func observe[T any](ctx context.Context, a *app, s *session, t target, verb string, request any) ([]observed[T], error) {
	ctx, cancel := context.WithTimeout(ctx, a.connection.timeout)
	defer cancel()
	subj := control.Subject(s.ns, control.Read, t.service, t.instance, verb)
	if t.instance != control.All {
		r, err := control.Ask(ctx, s.nc, subj, request)
		if err != nil {
			return nil, explainControl(err, t)
		}
		o, err := decodeObserved[T](r)
		return []observed[T]{o}, err
	}
	var all []observed[T]
	var failed error
	err := control.Gather(ctx, s.nc, subj, request, func(r control.Reply, err error) bool {
		var o observed[T]
		if err == nil {
			o, err = decodeObserved[T](r)
		}
		if err != nil {
			failed = errors.Join(failed, explainControl(err, t))
			return true
		}
		all = append(all, o)
		return true
	})
	if err != nil {
		return nil, explainControl(err, t)
	}
	slices.SortFunc(all, func(x, y observed[T]) int {
		return strings.Compare(x.Service+"/"+x.Instance, y.Service+"/"+y.Instance)
	})
	return all, failed
}

func decodeObserved[T any](r control.Reply) (observed[T], error) {
	o := observed[T]{Service: r.Service, Instance: r.Instance, Version: r.Version, Truncated: r.Truncated, Omitted: r.Omitted}
	if err := json.Unmarshal(r.Data, &o.Data); err != nil {
		return o, fmt.Errorf("%s/%s answers %s: %w", r.Service, r.Instance, r.Verb, err)
	}
	return o, nil
}

// explainControl gives an error the exit code of its kind.
func explainControl(err error, t target) error {
	var said *control.Error
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return noAnswerf("nobody listens for %s: `natsctl services` lists who is there; admin verbs are off unless the program sets Admin", t)
	case errors.As(err, &said):
		var code service.Code
		if code.UnmarshalText([]byte(said.Code)) != nil {
			code = service.CodeInternal
		}
		return fmt.Errorf("%s: %w", t, service.Errorf(code, "%s", said.Message))
	}
	return err
}
