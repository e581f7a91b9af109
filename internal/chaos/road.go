package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/inbox"
	"github.com/agner-go/agner/pkg/publish"
)

// newLoad makes the load of a run.
func newLoad(tb testing.TB, js jetstream.JetStream, cfg InboxConfig, h *History, p *pace) *load {
	tb.Helper()
	pad := strings.Repeat("x", max(0, cfg.Pad))
	l := &load{
		messages: cfg.Messages, keys: cfg.Keys, senders: cfg.Senders, seed: cfg.Seed, share: cfg.Events, history: h, pace: p,
		roads: make(map[Origin]road),
	}
	pub, err := publish.New(js, publish.Config{Source: "/chaos", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatalf("chaos: %v", err)
	}
	tb.Cleanup(func() { _ = pub.Close(context.WithoutCancel(tb.Context())) })
	l.roads[Events] = eventRoad(js, pub, pad)
	client, err := inbox.NewClient(js, inboxName, inbox.WithPublishConfig(publish.Config{Logger: slog.New(slog.DiscardHandler)}))
	if err != nil {
		tb.Fatalf("chaos: %v", err)
	}
	tb.Cleanup(func() { _ = client.Close(context.WithoutCancel(tb.Context())) })
	// The mailbox knows a message again by its id.
	l.roads[Direct] = func(ctx context.Context, key string, n int) error {
		return client.Send(ctx, key, Deposit{Key: key, N: n, Pad: pad}, publish.WithID(key+"."+strconv.Itoa(n)))
	}
	return l
}

// eventRoad publishes events. One whose fate is unknown is looked for: the dedup
// window of EVENTS is short in a run, and sending again might store it twice.
func eventRoad(js jetstream.JetStream, pub *publish.Publisher, pad string) road {
	return func(ctx context.Context, key string, n int) error {
		_, err := pub.Publish(ctx, Accrued{Key: key, N: n, Pad: pad}, publish.WithID(key+"."+strconv.Itoa(n)))
		if !errors.Is(err, publish.ErrUnknown) {
			return err
		}
		stored, lookErr := lastStored(ctx, js, key)
		if lookErr == nil && stored >= n {
			return nil
		}
		return errors.Join(err, lookErr)
	}
}

// lastStored is the number of the last event of a key: its sender sends the next
// one only after that.
func lastStored(ctx context.Context, js jetstream.JetStream, key string) (int, error) {
	// A server that is killed while it is asked never answers.
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	events, err := js.Stream(ctx, "EVENTS")
	if err != nil {
		return 0, fmt.Errorf("look for an event: %w", err)
	}
	m, err := events.GetLastMsgForSubject(ctx, "events."+Accrued{}.EventType()+"."+key)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for an event: %w", err)
	}
	var last Accrued
	if err := json.Unmarshal(m.Data, &last); err != nil {
		return 0, fmt.Errorf("look for an event: %w", err)
	}
	return last.N, nil
}
