package service_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/agner-go/agner/internal/embedded"
	"github.com/agner-go/agner/pkg/service"
)

// A monitor tells once that an instance is down, and why.
func ExampleMonitor() {
	if err := monitorBilling(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// billing b-1 is ready
	// billing b-1 is down: goodbye
}

func monitorBilling(ctx context.Context) (err error) {
	srv, err := embedded.Start(embedded.Config{NoListen: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Shutdown(ctx)) }()
	nc, err := srv.ConnectInProcess()
	if err != nil {
		return err
	}
	defer nc.Close()

	billing, err := service.New(nc, service.Config{Name: "billing", Instance: "b-1"})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- billing.Run(running) }()

	cl, err := service.NewClient(nc, service.ClientConfig{})
	if err != nil {
		return err
	}
	var found service.Instance
	for change, err := range service.Watch(ctx, cl, "billing") {
		if err != nil {
			return err
		}
		if found = change.Instance; found.State == service.StateReady {
			break
		}
	}
	fmt.Println(found.Service, found.ID, "is", found.State)

	stop()
	down, err := service.Monitor(ctx, cl, found)
	if err != nil {
		return err
	}
	fmt.Printf("%s %s is down: %s\n", down.Instance.Service, down.Instance.ID, down.Reason)
	return errors.Join(<-ended, cl.Close(ctx))
}
