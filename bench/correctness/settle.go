package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// calm is how long nothing may happen in a group that has nothing left to
	// do before its row is over.
	calm = time.Second
	// longest bounds a row after the scenario was played.
	longest = 5 * time.Minute
)

// settle waits until the group has nothing left to do, or until no further
// event was handled for as long as the pace allows.
func (r *field) settle(ctx context.Context, p pace) (outstanding, error) {
	patience := max(p.patience, time.Duration(p.turns)*r.scenario.Takes)
	silence := 3*calm + 2*r.scenario.Takes
	end := time.Now().Add(longest)
	var records, settled int
	moved, got := time.Now(), time.Now()
	for {
		n, events, err := r.journals.progress()
		if err != nil {
			return outstanding{}, err
		}
		dead, err := messages(ctx, r.js, r.layout.dead)
		if err != nil {
			return outstanding{}, err
		}
		left, err := r.outstanding(ctx)
		if err != nil {
			return outstanding{}, err
		}
		now := time.Now()
		if n != records || left.events > 0 {
			records, moved = n, now
		}
		if done := events + dead; done != settled {
			settled, got = done, now
		}
		done := settled >= len(r.pub.confirmed) && now.Sub(moved) >= calm
		// The durable is there, holds nothing, and no handler runs: the rest
		// will not come.
		over := left.durable && now.Sub(moved) >= silence
		if done || over || now.Sub(got) >= patience || now.After(end) {
			return left, nil
		}
		if err := r.rest(ctx, look); err != nil {
			return outstanding{}, err
		}
	}
}

// outstanding is what the server holds for the group.
type outstanding struct {
	durable bool   // it exists
	events  int    // not delivered yet, delivered and not acknowledged, or waiting for a retry
	floor   uint64 // up to this sequence all is settled
}

func (r *field) outstanding(ctx context.Context) (outstanding, error) {
	left, err := durableInfo(ctx, r.js, r.layout.stream, r.layout.durable)
	if err != nil {
		return left, err
	}
	lane, err := messages(ctx, r.js, r.layout.lane)
	left.events += lane
	return left, err
}

// durableInfo asks the server itself: the client's look-ups differ for push and
// pull.
func durableInfo(ctx context.Context, js jetstream.JetStream, stream, durable string) (outstanding, error) {
	m, err := js.Conn().RequestWithContext(ctx, "$JS.API.CONSUMER.INFO."+stream+"."+durable, nil)
	if err != nil {
		return outstanding{}, fmt.Errorf("look at durable %s: %w", durable, err)
	}
	var info struct {
		Error      *jetstream.APIError    `json:"error"`
		Pending    int                    `json:"num_pending"`
		AckPending int                    `json:"num_ack_pending"`
		Floor      jetstream.SequenceInfo `json:"ack_floor"`
	}
	if err := json.Unmarshal(m.Data, &info); err != nil {
		return outstanding{}, fmt.Errorf("look at durable %s: %w", durable, err)
	}
	if info.Error != nil {
		if info.Error.ErrorCode == jetstream.JSErrCodeConsumerNotFound {
			return outstanding{}, nil
		}
		return outstanding{}, fmt.Errorf("look at durable %s: %w", durable, info.Error)
	}
	return outstanding{durable: true, events: info.Pending + info.AckPending, floor: info.Floor.Stream}, nil
}

// messages is how many a stream holds; one that is not there holds none.
func messages(ctx context.Context, js jetstream.JetStream, name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	st, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look at stream %s: %w", name, err)
	}
	return int(st.CachedInfo().State.Msgs), nil //nolint:gosec // a few thousand
}
