package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/agner-go/agner/internal/embedded"
)

const devHelp = `Run an embedded NATS server with JetStream, for development.

It listens on 127.0.0.1 only and asks nobody for a password. If the port is in
use, the next free one is taken, and said so. Streams are kept in a temporary
directory that is removed at the end, or in --store-dir, where the next start
finds them again; one server at a time may use a directory. Ctrl-C stops it in
order, a second Ctrl-C at once.

With -o json it prints one object (url, port, store_dir, temporary, pid) when
the server accepts connections, and nothing more.`

// defaultPort is the one that clients of NATS try by default.
const defaultPort = 4222

// portTries bounds the search for a free port.
const portTries = 100

type devOptions struct {
	port     int
	storeDir string
}

func (a *app) devCommand() *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:     "dev",
		Short:   "Run an embedded NATS server with JetStream, for development",
		Long:    devHelp,
		GroupID: groupServer,
		Example: "  natsctl dev\n  natsctl dev --port 5222 --store-dir ./nats-data",
		Args:    cobra.NoArgs,
		RunE:    a.standalone(func(ctx context.Context, _ []string) error { return a.dev(ctx, o) }),
	}
	cmd.Flags().IntVar(&o.port, "port", defaultPort, "`port` to listen on, or the next free one; 0 is any")
	cmd.Flags().StringVar(&o.storeDir, "store-dir", "", "`directory` that keeps the streams (default a temporary one)")
	_ = cmd.MarkFlagDirname("store-dir") // fails for unknown flags only
	return cmd
}

// devServer is what dev prints.
type devServer struct {
	URL       string `json:"url"`
	Port      int    `json:"port"`
	StoreDir  string `json:"store_dir"`
	Temporary bool   `json:"temporary"`
	PID       int    `json:"pid"`
}

func (a *app) dev(ctx context.Context, o devOptions) error {
	if o.port < 0 || o.port > 65535 {
		return usagef("--port %d is not between 0 and 65535", o.port)
	}
	log := slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	srv, port, err := startOnFreePort(o, log)
	if err != nil {
		return err
	}
	if o.port != 0 && port != o.port {
		fmt.Fprintf(a.stderr, "natsctl: port %d is in use, %d is not: using that\n", o.port, port)
	}
	p := a.printer()
	d := devServer{URL: srv.URL(), Port: port, StoreDir: srv.StoreDir(), Temporary: o.storeDir == "", PID: os.Getpid()}
	if p.isTable() {
		a.devBanner(d)
	} else if err := p.document(d); err != nil {
		return errors.Join(err, stopServer(ctx, srv))
	}
	<-ctx.Done()
	if p.isTable() {
		fmt.Fprintln(a.stdout, "\nStopping. Ctrl-C again ends it at once.")
	}
	if err := stopServer(ctx, srv); err != nil {
		return err
	}
	if p.isTable() {
		fmt.Fprintln(a.stdout, "Stopped. "+d.fate())
	}
	return nil
}

// startOnFreePort starts the server on the wanted port or, if that is busy, on
// the first free one above it.
func startOnFreePort(o devOptions, log *slog.Logger) (*embedded.Server, int, error) {
	for port := o.port; ; port++ {
		srv, err := embedded.Start(embedded.Config{Port: port, StoreDir: o.storeDir, Logger: log, Name: "natsctl-dev"})
		switch {
		case err == nil:
			return srv, srv.NATS().Addr().(*net.TCPAddr).Port, nil //nolint:forcetypeassert // it listens on TCP
		case errors.Is(err, embedded.ErrStoreBusy):
			return nil, 0, fmt.Errorf("%s is in use by another server: stop that one, or give another --store-dir", o.storeDir)
		case !errors.Is(err, embedded.ErrPortBusy) || port == o.port+portTries || port == 65535:
			return nil, 0, err
		}
	}
}

// stopGrace bounds the stop of a server of ours.
const stopGrace = 20 * time.Second

// stopServer stops it, although ctx has ended.
func stopServer(ctx context.Context, srv *embedded.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	return srv.Shutdown(ctx)
}

func (d devServer) fate() string {
	if d.Temporary {
		return d.StoreDir + " is removed."
	}
	return "The streams stay in " + d.StoreDir + "."
}

func (a *app) devBanner(d devServer) {
	s := a.styleFor(a.stdout)
	keeps := "temporary: removed when this ends (--store-dir keeps it)"
	if !d.Temporary {
		keeps = "kept for the next start"
	}
	fmt.Fprintf(a.stdout, `NATS server with JetStream, for development, on this machine only

  %s  %s
  %s   %s
          %s

`, s.bold("client"), d.URL, s.bold("store"), d.StoreDir, keeps)
	if d.Port != defaultPort {
		fmt.Fprintf(a.stdout, "In another terminal:\n  export NATS_URL=%s\n", d.URL)
	} else {
		fmt.Fprint(a.stdout, "In another terminal:\n")
	}
	fmt.Fprint(a.stdout, `  natsctl tail
  natsctl publish shop.order.placed.v1 --key o-1 --data '{"order_id":"o-1"}'

Ctrl-C stops the server.
`)
}
