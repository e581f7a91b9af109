package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	eventType = "bench.order.placed.v1"
	keyCount  = 16
)

// publisher is the trusted one: one event after the other, each confirmed.
type publisher struct {
	js       jetstream.JetStream
	layout   layout
	twoEvery int // every so many events carry twoHeader twice

	confirmed map[int]uint64 // stream sequence by number of the event
}

// publish stores event n. An error of the stream is retried with the same id.
func (p *publisher) publish(ctx context.Context, n int) error {
	for {
		ack, err := p.js.PublishMsg(ctx, p.message(n))
		if err == nil {
			p.confirmed[n] = ack.Sequence
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("publish event %d: %w", n, err)
		}
	}
}

// message is the same for all contenders but for its subject: a CloudEvent in
// the binary mode of the NATS binding that also bears watermill's id.
func (p *publisher) message(n int) *nats.Msg {
	id := fmt.Sprintf("event-%06d", n)
	key := fmt.Sprintf("customer-%02d", n%keyCount)
	h := nats.Header{
		"ce-specversion":          {"1.0"},
		"ce-id":                   {id},
		"ce-source":               {"/bench/correctness"},
		"ce-type":                 {eventType},
		"ce-time":                 {time.Now().UTC().Format(time.RFC3339Nano)},
		"ce-datacontenttype":      {"application/json"},
		"ce-partitionkey":         {key},
		"_watermill_message_uuid": {id},
		jetstream.MsgIDHeader:     {id},
	}
	if isNth(n, p.twoEvery) {
		h[twoHeader] = []string{"tenant=red", "route=blue"}
	}
	return &nats.Msg{Subject: p.layout.subject(key), Header: h, Data: fmt.Appendf(nil, `{"n":%d,"cents":500}`, n)}
}

// burst is how many events are published at a time at a given rate.
const burst = 50 * time.Millisecond

// load publishes events from first on, at rate events a second, or as fast as
// the stream confirms them if rate is 0, until there are count of them or, if
// count is 0, until enough is closed. It returns how many it has published.
func (p *publisher) load(ctx context.Context, rate, count int, enough <-chan struct{}) error {
	began := time.Now()
	tick := time.NewTicker(burst)
	defer tick.Stop()
	for n := 0; count == 0 || n < count; {
		due := count
		if rate > 0 {
			due = int(time.Since(began).Seconds() * float64(rate))
		}
		for ; n < due && (count == 0 || n < count); n++ {
			if err := p.publish(ctx, n); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-enough:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
