package connection_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/connection"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/supervise"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }

var _ supervise.Gate = (*connection.Gate)(nil)

func TestGateFollowsTheConnection(t *testing.T) {
	t.Parallel()
	s := testserver.Start(t, testserver.Listen())
	nc := s.Connect(t, nats.ReconnectWait(20*time.Millisecond))
	g := connection.NewGate(nc, nil)
	if !g.Open() || g.Wait(t.Context()) != nil {
		t.Fatal("closed although connected")
	}
	s.Shutdown()
	testserver.Eventually(t, 10*time.Second, func() bool { return !g.Open() }, "still open")
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := g.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait while away = %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- g.Wait(t.Context()) }()
	s.Restart(t)
	if err := <-waited; err != nil || !g.Open() {
		t.Errorf("Wait = %v, open %v", err, g.Open())
	}
	nc.Close()
	if !g.Open() || g.Blames(nats.ErrDisconnected) {
		t.Error("a connection that is closed for good must let its children fail")
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		nats.ErrNoResponders:                 true,
		fmt.Errorf("x: %w", nats.ErrTimeout): true,
		context.DeadlineExceeded:             true,
		nats.ErrDisconnected:                 true,
		nats.ErrPermissionViolation:          false,
		errors.New("something else"):         false,
	} {
		if got := connection.Unavailable(err); got != want {
			t.Errorf("Unavailable(%v) = %v", err, got)
		}
	}
}
