package chaos

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/inbox"
	"github.com/agner-go/agner/pkg/publish"
)

// Feed sends tallyEvery messages to each key at a steady beat until ctx ends, so
// that each key has an output with every beat while it has an owner.
func Feed(ctx context.Context, tb testing.TB, js jetstream.JetStream, keys []string, beat time.Duration) {
	tb.Helper()
	client, err := inbox.NewClient(js, inboxName, inbox.WithPublishConfig(publish.Config{Logger: slog.New(slog.DiscardHandler)}))
	if err != nil {
		tb.Errorf("chaos: %v", err)
		return
	}
	defer func() { _ = client.Close(context.WithoutCancel(ctx)) }()
	for n := 0; ; n += tallyEvery {
		at := time.Now()
		var sent []*publish.Future
		for _, key := range keys {
			for i := range tallyEvery {
				sent = append(sent, client.SendAsync(ctx, key, Deposit{Key: key, N: n + i + 1}))
			}
		}
		for _, f := range sent {
			if _, err := f.Wait(ctx); err != nil && ctx.Err() == nil {
				tb.Logf("chaos: feed: %v", err) // while the mailbox is being made
			}
		}
		if !wait(ctx, time.Until(at.Add(beat))) {
			return
		}
	}
}

// Gaps returns the longest time between two outputs of each key in EVENTS, of
// those from one time to the first one after another. It is an error if a key has
// none after that.
func Gaps(ctx context.Context, js jetstream.JetStream, keys []string, from, to time.Time) (map[string]time.Duration, error) {
	var e Evidence
	if err := e.events(ctx, js); err != nil {
		return nil, err
	}
	last, gaps, over := make(map[string]time.Time), make(map[string]time.Duration), make(map[string]bool)
	for _, o := range e.Outputs {
		if o.Stored.Before(from) || over[o.Key] {
			continue
		}
		if before, seen := last[o.Key]; seen {
			gaps[o.Key] = max(gaps[o.Key], o.Stored.Sub(before))
		}
		last[o.Key] = o.Stored
		over[o.Key] = o.Stored.After(to)
	}
	for _, key := range keys {
		if !over[key] {
			return nil, fmt.Errorf("%s has no output after %s", key, to.Format(time.TimeOnly))
		}
	}
	return gaps, nil
}
