package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/embedded"
)

// serveArg makes this program the server.
const serveArg = "serve"

// serve runs a server until standard input ends, which it does when the parent
// ends, however it ends. In a cluster, args are its name, its port for routes and
// the routes of all.
func serve(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	cfg := embedded.Config{Name: "bench"}
	if len(args) == 3 {
		cfg.Name = args[0]
		cfg.Options = func(o *server.Options) (err error) {
			o.Cluster.Name, o.Cluster.Host = "bench", "127.0.0.1"
			if o.Cluster.Port, err = strconv.Atoi(args[1]); err != nil {
				return err
			}
			o.Routes = server.RoutesFromStr(args[2])
			return nil
		}
	}
	srv, err := embedded.Start(cfg)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, srv.URL())
	_, err = io.Copy(io.Discard, in)
	return errors.Join(err, srv.Shutdown(context.WithoutCancel(ctx)))
}

// startServers runs n servers, each in a process of its own, and returns the
// addresses of all.
func startServers(ctx context.Context, n int) (urls string, stop func(), err error) {
	if n == 1 {
		return startChild(ctx, serveArg)
	}
	ports, err := freePorts(ctx, n)
	if err != nil {
		return "", nil, err
	}
	routes := make([]string, n)
	for i, port := range ports {
		routes[i] = "nats://127.0.0.1:" + port
	}
	var all []string
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for i, port := range ports {
		url, s, err := startChild(ctx, serveArg, "bench-"+strconv.Itoa(i+1), port, strings.Join(routes, ","))
		if err != nil {
			stop()
			return "", nil, err
		}
		all, stops = append(all, url), append(stops, s)
	}
	return strings.Join(all, ","), stop, nil
}

func freePorts(ctx context.Context, n int) ([]string, error) {
	ports := make([]string, n)
	for i := range ports {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = l.Close() }() // all together, so that each is another one
		if _, ports[i], err = net.SplitHostPort(l.Addr().String()); err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
	}
	return ports, nil
}

// awaitServers returns when a stream with a replica on each of n servers can be
// made, which takes a cluster some seconds.
func awaitServers(ctx context.Context, js jetstream.JetStream, n int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := probe(ctx, js, n)
		if err == nil {
			return nil
		}
		if werr := wait(ctx, 100*time.Millisecond); werr != nil {
			return fmt.Errorf("cluster of %d is not ready: %w", n, errors.Join(werr, err))
		}
	}
}

func probe(ctx context.Context, js jetstream.JetStream, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "PROBE", Replicas: n}); err != nil {
		return err
	}
	return js.DeleteStream(ctx, "PROBE")
}

// startChild runs this program again as the server.
func startChild(ctx context.Context, args ...string) (url string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, fmt.Errorf("start server: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, args...) //nolint:gosec // it is this very program
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return nil } // its input ends, and it removes its store
	cmd.WaitDelay = 10 * time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, fmt.Errorf("start server: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, fmt.Errorf("start server: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start server: %w", err)
	}
	stop = func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("start server: no address from it: %w", err)
	}
	return strings.TrimSpace(line), stop, nil
}
