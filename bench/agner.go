package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/service"
)

// agner is this project, as its README shows it.
type agner struct{}

func (agner) Name() string { return "agner" }

// quiet says what is wrong and nothing else.
func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (agner) Publish(_ context.Context, s *session) (publishFunc, error) {
	pub, err := agnerPublisher(s)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, o Order) error {
		_, err := pub.Publish(ctx, o)
		return err
	}, nil
}

func agnerPublisher(s *session) (*publish.Publisher, error) {
	js, err := jetstream.New(s.send)
	if err != nil {
		return nil, err
	}
	pub, err := publish.New(js, publish.Config{Source: orderSource, MaxInFlight: asyncWindow, Logger: quiet()})
	if err != nil {
		return nil, err
	}
	s.onClose(pub.Close)
	return pub, nil
}

func (agner) PublishAsync(_ context.Context, s *session) (publishFunc, func(context.Context) error, error) {
	pub, err := agnerPublisher(s)
	if err != nil {
		return nil, nil, err
	}
	// A program looks at each result: a ring of futures, as long as the window.
	ring := make([]*publish.Future, asyncWindow)
	next := 0
	settle := func(ctx context.Context, i int) error {
		if ring[i] == nil {
			return nil
		}
		_, err := ring[i].Wait(ctx)
		ring[i] = nil
		return err
	}
	send := func(ctx context.Context, o Order) error {
		i := next % len(ring)
		next++
		err := settle(ctx, i)
		ring[i] = pub.PublishAsync(ctx, o)
		return err
	}
	flush := func(ctx context.Context) error {
		var errs []error
		for i := range ring {
			errs = append(errs, settle(ctx, i))
		}
		return errors.Join(errs...)
	}
	return send, flush, nil
}

func (agner) Consume(ctx context.Context, s *session, workers int, handle handleFunc) error {
	js, err := jetstream.New(s.receive)
	if err != nil {
		return err
	}
	c, err := consume.New(js, consume.Config{Group: "bench", Concurrency: workers, Logger: quiet()},
		consume.On(func(_ context.Context, e envelope.Event[Order]) error {
			return handle(e.ID, e.Type, e.Data)
		}))
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

func (agner) Call(ctx context.Context, s *session) (callFunc, error) {
	svc, err := service.New(s.receive, service.Config{Name: "bench", Logger: quiet()},
		service.Handle("quote", func(ctx context.Context, o Order) (Order, error) { return answer(o), s.work(ctx) }))
	if err != nil {
		return nil, err
	}
	if err := runService(ctx, s, svc); err != nil {
		return nil, err
	}
	cl, err := service.NewClient(s.send, service.ClientConfig{})
	if err != nil {
		return nil, err
	}
	s.onClose(cl.Close)
	return func(ctx context.Context, o Order) (Order, error) {
		return service.Call[Order](ctx, cl, "bench.quote", o)
	}, nil
}

// runService runs svc until the session ends and returns when it is ready.
func runService(ctx context.Context, s *session, svc *service.Service) error {
	runCtx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(runCtx) }()
	s.onClose(func(context.Context) error {
		stop()
		return <-ended
	})
	for svc.Status().State != service.StateReady {
		if err := rest(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("wait for the service: %w", err)
		}
	}
	return nil
}

func (agner) Encode() (func() error, error) {
	data, err := json.Marshal(order(7))
	if err != nil {
		return nil, err
	}
	e := envelope.Raw{
		Attributes: envelope.Attributes{
			ID:              sampleID,
			Source:          orderSource,
			Type:            sampleType,
			Subject:         sampleSubject,
			Time:            sampleTime(),
			DataContentType: "application/json",
			Key:             sampleKey,
			Extensions:      []envelope.Extension{{Name: "sampledrate", Value: sampleRate}},
		},
		Data: data,
	}
	write := func() (*nats.Msg, error) {
		msg, err := envelope.Marshal(&e)
		if err != nil {
			return nil, err
		}
		msg.Subject = rawSubject + sampleKey
		return msg, nil
	}
	msg, err := write()
	if err != nil {
		return nil, err
	}
	if n := len(msg.Header); n != 9 {
		return nil, fmt.Errorf("wrote %d headers: %v", n, msg.Header)
	}
	return func() error {
		_, err := write()
		return err
	}, nil
}

func (agner) Decode() (func() error, error) {
	msg, err := sampleMessage()
	if err != nil {
		return nil, err
	}
	e, err := envelope.Unmarshal(msg)
	if err != nil {
		return nil, err
	}
	if e.ID != sampleID || !e.Time.Equal(sampleTime()) || e.Key != sampleKey || len(e.Extensions) != 1 || len(e.Data) != orderBytes {
		return nil, fmt.Errorf("read something else: %+v", e.Attributes)
	}
	return func() error {
		_, err := envelope.Unmarshal(msg)
		return err
	}, nil
}
