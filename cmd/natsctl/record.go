package main

import (
	"context"
	"log/slog"
	"os"
	"os/user"

	"github.com/agner-go/agner/internal/fleetlog"
)

// recorder tells the fleet log what this command does. A log that cannot be
// written keeps nobody from acting: what is lost is said on standard error.
type recorder struct {
	log  *fleetlog.Writer
	stop func()
}

// recorder of acts on what, where a record names no service.
func (a *app) recorder(ctx context.Context, s *session, what string) *recorder {
	r := &recorder{log: fleetlog.NewWriter(s.js, fleetlog.Config{
		Namespace: s.ns, Service: what, Instance: "all", Logger: slog.New(slog.NewTextHandler(a.stderr, nil)),
	})}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		_ = r.log.Run(ctx) // it always ends well
		close(done)
	}()
	r.stop = func() {
		cancel()
		<-done
	}
	return r
}

// act records a verb on what text says, about a service or, without one, what
// the recorder is for. Detail has what came of it.
func (r *recorder) act(verb, service, reason, text string, detail map[string]string) {
	r.log.Write(fleetlog.Record{
		Kind: fleetlog.KindAdmin, Object: verb, By: whoami(), Service: service, Reason: reason, Text: text, Detail: detail,
	})
}

// Close waits until all that was recorded is stored, or known to be lost.
func (r *recorder) Close() { r.stop() }

// outcome is the reason of a record, and its detail with the error there is.
func outcome(err error, detail map[string]string) (string, map[string]string) {
	if err == nil {
		return "done", detail
	}
	if detail == nil {
		detail = map[string]string{}
	}
	detail["error"] = err.Error()
	return "failed", detail
}

// whoami is who sits at this machine.
func whoami() string {
	name := "somebody"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}
