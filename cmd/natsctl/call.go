package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agner-go/agner/pkg/service"
)

const callHelp = `Call an endpoint of a service and print its result, which is JSON.

The argument is JSON, "-" for standard input; without one the endpoint gets its
zero value. One instance of the service answers, or the one that --instance
names. With --all each does, and a line for each reply is printed, with the
instance's name; those that did not answer in time are among them. --timeout
bounds the call and travels with it: at its end the handler is
cancelled too.

The exit code tells what happened: 3 if the service says not_found, 4 if nobody
is there or no answer came in time, 1 for any other error.`

const callExample = `  natsctl call billing.quote '{"sku":"A1","quantity":2}'
  natsctl call billing.quote --instance billing-1 - < request.json
  natsctl call billing.quote --all '{"sku":"A1"}' -o jsonl
  natsctl call orders.status '{"order_id":"o-1"}' --timeout 500ms -o json`

type callOptions struct {
	instance string
	all      bool
}

func (a *app) callCommand() *cobra.Command {
	var o callOptions
	cmd := &cobra.Command{
		Use:     "call SERVICE.ENDPOINT [JSON]",
		Short:   "Call an endpoint of a service",
		Long:    callHelp,
		Example: callExample,
		GroupID: groupServices,
		Args:    between(1, 2, "the SERVICE.ENDPOINT to call and at most one JSON argument: quote it"),
		RunE:    a.run(func(ctx context.Context, args []string) error { return a.call(ctx, o, args) }),
	}
	cmd.ValidArgsFunction = a.completeEndpoint
	cmd.Flags().StringVar(&o.instance, "instance", "", "call this `instance`, not any")
	cmd.Flags().BoolVar(&o.all, "all", false, "call each instance, print a line a reply")
	cmd.MarkFlagsMutuallyExclusive("instance", "all")
	_ = cmd.RegisterFlagCompletionFunc("instance", a.completeInstance) // fails for unknown flags only
	return cmd
}

func (a *app) call(ctx context.Context, o callOptions, args []string) error {
	request, err := a.callArgument(args)
	if err != nil {
		return err
	}
	s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	client, err := service.NewClient(s.nc, service.ClientConfig{Namespace: string(s.ns), Timeout: a.connection.timeout})
	if err != nil {
		return err
	}
	var opts []service.CallOption
	if o.instance != "" {
		opts = append(opts, service.ToInstance(o.instance))
	}
	if o.all {
		return errors.Join(a.callAll(ctx, s, client, args[0], request), a.closeClient(ctx, client))
	}
	result, err := service.Call[json.RawMessage](ctx, client, args[0], request, opts...)
	if err != nil {
		return a.explainCall(ctx, s, args[0], o.instance, err)
	}
	if err := a.closeClient(ctx, client); err != nil {
		return err
	}
	return a.printer().document(result)
}

// closeClient waits until what was sent has reached the server, a cancel too.
func (a *app) closeClient(ctx context.Context, client *service.Client) error {
	closing, cancel := context.WithTimeout(ctx, a.connection.timeout)
	defer cancel()
	return client.Close(closing)
}

// callArgument is the JSON of the request; nil for none.
func (a *app) callArgument(args []string) (json.RawMessage, error) {
	if len(args) < 2 {
		return nil, nil
	}
	data := []byte(args[1])
	if args[1] == "-" {
		var err error
		if data, err = io.ReadAll(io.LimitReader(a.stdin, maxLine)); err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
	}
	if !json.Valid(data) {
		return nil, usagef("argument is not JSON: %s", onLine(string(data), 60))
	}
	return data, nil
}

// explainCall finds out who was missing when nobody answered.
func (a *app) explainCall(ctx context.Context, s *session, target, instance string, err error) error {
	var called *service.Error
	if !errors.As(err, &called) || called.Code != service.CodeUnavailable || service.IsRemote(err) {
		return err
	}
	name, endpoint, _ := strings.Cut(target, ".")
	look, cancel := context.WithTimeout(ctx, min(time.Second, a.connection.timeout))
	defer cancel()
	found, lookErr := s.discover(look, name, nil)
	switch {
	case lookErr != nil:
		return err
	case len(found) == 0:
		return noAnswerf("nobody answers for service %q: `natsctl services` lists who is there", name)
	}
	if names := found.endpoints(); !names[endpoint] {
		return noAnswerf("service %q has no endpoint %q, it has %s", name, endpoint, sorted(names))
	}
	if instance != "" {
		return noAnswerf("service %q has no instance %q, it has %s", name, instance, sorted(found.instances()))
	}
	return err
}
