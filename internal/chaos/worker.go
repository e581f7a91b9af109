package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/inbox"
	"github.com/agner-go/agner/pkg/service"
)

// inboxName names the inbox under attack.
const inboxName = "accounts"

// workerVariable holds a worker's configuration, as JSON.
const workerVariable = "AGNER_CHAOS_WORKER"

// WorkerConfig is what a worker process is told.
type WorkerConfig struct {
	Name   string        `json:"name"`
	URL    string        `json:"url"`
	Lease  time.Duration `json:"lease"`
	Keys   int           `json:"keys"`
	Record string        `json:"record"` // file to which it appends what it sees
}

// NewWorker returns a worker that is down.
func NewWorker(tb testing.TB, cfg WorkerConfig) *testserver.Program {
	tb.Helper()
	text, err := json.Marshal(cfg)
	if err != nil {
		tb.Fatalf("chaos: %v", err)
	}
	return testserver.NewProgram(tb, cfg.Name, workerVariable+"="+string(text))
}

// ServeIfAsked turns this process into a worker or a server if the machine
// started it as one, and then never returns; else it does nothing.
func ServeIfAsked() {
	text, asked := os.LookupEnv(workerVariable)
	if !asked {
		testserver.RunChildIfAsked()
		return
	}
	if err := testserver.RunProgram(func(ctx context.Context, ready func() error) error {
		var cfg WorkerConfig
		if err := json.Unmarshal([]byte(text), &cfg); err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
		return work(ctx, cfg, ready)
	}); err != nil {
		fmt.Fprintf(os.Stderr, "chaos worker: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// work runs the inbox until ctx ends.
func work(ctx context.Context, cfg WorkerConfig, ready func() error) error {
	record, err := os.OpenFile(cfg.Record, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	defer func() { _ = record.Close() }()
	nc, err := service.Connect(ctx, cfg.URL, nats.Name(cfg.Name))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	in, err := inbox.New(js, inbox.Config{
		Name: inboxName, LeaseTTL: cfg.Lease, DrainTimeout: 20 * time.Second,
		Logger: slog.New(slog.NewJSONHandler(record, nil)),
	}, handlers(cfg.Keys)...)
	if err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	return in.Run(ctx)
}

// handlers are the fold, for each origin.
func handlers(keys int) []inbox.Handler {
	return []inbox.Handler{
		inbox.On(func(_ context.Context, tx *inbox.Tx[Account], e envelope.Event[Deposit]) error {
			if e.Data.N%transferEvery == 0 {
				tx.Send(neighbor(tx.Key, keys), Transfer{From: tx.Key, N: e.Data.N})
			}
			return apply(tx, Direct, e.Data.N)
		}),
		inbox.On(func(_ context.Context, tx *inbox.Tx[Account], e envelope.Event[Accrued]) error {
			return apply(tx, Events, e.Data.N)
		}, inbox.Subscribed()),
		inbox.On(func(_ context.Context, tx *inbox.Tx[Account], e envelope.Event[Transfer]) error {
			return apply(tx, Neighbor, e.Data.N)
		}),
	}
}

func apply(tx *inbox.Tx[Account], o Origin, n int) error {
	if tx.State.Apply(o, tx.Key, n) {
		tx.Publish(Tallied{Key: tx.Key, Account: tx.State})
	}
	return nil
}

// countFenced counts the commits that the server refused to a worker.
func countFenced(path string) (int, error) {
	f, err := os.Open(path) //nolint:gosec // G304: the machine's own file
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil // of a slot in which none ever ran
	}
	if err != nil {
		return 0, fmt.Errorf("record: %w", err)
	}
	defer func() { _ = f.Close() }()
	n := 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if bytes.Contains(lines.Bytes(), []byte("fenced")) {
			n++
		}
	}
	return n, lines.Err()
}
