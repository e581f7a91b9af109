package main

import (
	"context"
	"encoding/json"

	"github.com/nats-io/nats.go/micro"
)

// upstream is nats.go/micro, the services of NATS's own client, as its README
// shows them. It serves; it has no callers of its own, so they are nats.go's.
type upstream struct {
	skips
	name string
}

func (u upstream) Name() string { return u.name }

func (upstream) Call(ctx context.Context, s *session) (callFunc, error) {
	svc, err := micro.AddService(s.receive, micro.Config{Name: "bench", Version: "1.0.0"})
	if err != nil {
		return nil, err
	}
	s.onClose(func(context.Context) error { return svc.Stop() })
	if err := svc.AddGroup("rpc").AddGroup("bench").AddEndpoint("quote", micro.HandlerFunc(func(req micro.Request) {
		var o Order
		if err := json.Unmarshal(req.Data(), &o); err != nil {
			_ = req.Error("400", err.Error(), nil) // the caller's timeout tells
			return
		}
		if err := s.work(ctx); err != nil {
			return
		}
		_ = req.RespondJSON(answer(o)) // likewise
	})); err != nil {
		return nil, err
	}
	// Without it the first requests find nobody.
	if err := s.receive.Flush(); err != nil {
		return nil, err
	}
	return rawCaller(s), nil
}
