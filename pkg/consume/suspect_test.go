package consume_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// workerEnv makes the test binary a worker that dies of event "7".
const workerEnv = "AGNER_TEST_DEADLY_WORKER"

const deathCode = 3

func deadlyWorker(url string) int {
	nc, err := nats.Connect(url)
	if err != nil {
		return 1
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return 1
	}
	cfg := quick()
	cfg.AckWait = time.Second
	c, err := consume.New(js, cfg, consume.On(func(ctx context.Context, e envelope.Event[orderPlaced]) error {
		if e.ID == "7" {
			os.Exit(deathCode)
		}
		// Long enough for neighbours to be caught by the death.
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
		return nil
	}))
	if err != nil {
		return 1
	}
	// Ends with its parent at the latest.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if c.Run(ctx) != nil {
		return 1
	}
	return 0
}

func TestEventThatKillsTheProcess(t *testing.T) {
	t.Parallel()
	server := testserver.Start(t, testserver.Listen())
	b := &bundle{js: server.JetStream(t)}
	b.streams(t)
	b.place(t, 30)
	deaths := 0
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), workerEnv+"="+server.URL())
			err := cmd.Run()
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() == deathCode {
				deaths++
			}
		}
	}()
	testserver.Eventually(t, time.Minute, func() error {
		if n := len(b.dead(t)); n != 1 {
			return fmt.Errorf("%d dead letters", n)
		}
		return b.idle(t, "EVENTS")
	}, "the backlog is not settled")
	cancel()
	<-ended
	d := b.dead(t)
	if len(d) != 1 || d[0].Header.Get("ce-id") != "7" || d[0].Header.Get(consume.HeaderDeadReason) != "killed" {
		t.Errorf("dead letters %+v", d)
	}
	t.Logf("%d processes died", deaths)
	if deaths < 4 || deaths > 8 {
		t.Errorf("%d processes died", deaths)
	}
}
