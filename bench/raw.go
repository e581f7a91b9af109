package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// raw is nats.go by hand, as a careful program without a framework has it. What
// it sends is byte for byte what Agner sends.
type raw struct {
	skips
	name string
}

func (r raw) Name() string { return r.name }

func (raw) Publish(_ context.Context, s *session) (publishFunc, error) {
	js, err := jetstream.New(s.send)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, o Order) error {
		msg, err := rawEvent(nuid.Next(), o)
		if err != nil {
			return err
		}
		_, err = js.PublishMsg(ctx, msg)
		return err
	}, nil
}

func (raw) PublishAsync(_ context.Context, s *session) (publishFunc, func(context.Context) error, error) {
	return sendAsync(s, func(int) string { return nuid.Next() })
}

// sendAsync publishes with ids of the caller's choice: the i-th gets id(i).
func sendAsync(s *session, id func(i int) string) (publishFunc, func(context.Context) error, error) {
	var failed firstError
	js, err := jetstream.New(s.send,
		jetstream.WithPublishAsyncMaxPending(asyncWindow),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { failed.set(err) }))
	if err != nil {
		return nil, nil, err
	}
	n := 0
	send := func(ctx context.Context, o Order) error {
		msg, err := rawEvent(id(n), o)
		if err != nil {
			return err
		}
		n++
		for {
			// After 200 ms without room nats.go gives up; a busy machine takes longer.
			_, err = js.PublishMsgAsync(msg)
			if !errors.Is(err, jetstream.ErrTooManyStalledMsgs) || ctx.Err() != nil {
				return err
			}
		}
	}
	flush := func(ctx context.Context) error {
		select {
		case <-js.PublishAsyncComplete():
			return failed.get()
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), failed.get())
		}
	}
	return send, flush, nil
}

// firstError keeps the first of errors that several goroutines report.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (f *firstError) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *firstError) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// rawEvent writes the binary mode of the NATS binding. One array holds what
// differs from event to event.
func rawEvent(id string, o Order) (*nats.Msg, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	values := [...]string{
		"1.0", id, orderSource, orderType, time.Now().UTC().Format(time.RFC3339Nano),
		"application/json", o.Customer, rawMessageID(orderSource, id),
	}
	return &nats.Msg{
		Subject: rawSubject + o.Customer,
		Data:    data,
		Header: nats.Header{
			"ce-specversion":     values[0:1:1],
			"ce-id":              values[1:2:2],
			"ce-source":          values[2:3:3],
			"ce-type":            values[3:4:4],
			"ce-time":            values[4:5:5],
			"ce-datacontenttype": values[5:6:6],
			"ce-partitionkey":    values[6:7:7],
			nats.MsgIdHdr:        values[7:8:8],
		},
	}, nil
}

const rawSubject = "events." + orderType + "."

// rawMessageID is the derivation of docs/wire.md.
func rawMessageID(source, id string) string {
	sum := sha256.Sum256([]byte(source + "\x00" + id))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Pull settings at which raw does best here: at nats.go's own batch of 500 it
// reached three quarters of this rate.
const (
	rawBatch      = 2000
	rawAckPending = 4000
)

func (raw) Consume(ctx context.Context, s *session, workers int, handle handleFunc) error {
	js, err := jetstream.New(s.receive)
	if err != nil {
		return err
	}
	cons, err := js.CreateOrUpdateConsumer(ctx, eventsStream, jetstream.ConsumerConfig{
		Durable:       "bench_raw",
		AckPolicy:     jetstream.AckExplicitPolicy,
		FilterSubject: rawSubject + "*",
		MaxAckPending: rawAckPending,
	})
	if err != nil {
		return err
	}
	var failed firstError
	one := func(msg jetstream.Msg) {
		if err := rawHandle(msg, handle); err != nil {
			failed.set(err)
		}
	}
	receive := one
	if workers > 1 {
		var wait func()
		receive, wait = rawWorkers(workers, one)
		defer wait()
	}
	cc, err := cons.Consume(receive, jetstream.PullMaxMessages(rawBatch))
	if err != nil {
		return err
	}
	<-ctx.Done()
	cc.Stop()
	<-cc.Closed()
	return failed.get()
}

// rawWorkers puts goroutines behind a channel, and returns how to wait for
// them.
func rawWorkers(workers int, one func(jetstream.Msg)) (receive func(jetstream.Msg), wait func()) {
	msgs := make(chan jetstream.Msg, workers)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for msg := range msgs {
				one(msg)
			}
		})
	}
	return func(msg jetstream.Msg) { msgs <- msg }, func() { close(msgs); wg.Wait() }
}

func rawHandle(msg jetstream.Msg, handle handleFunc) error {
	h := msg.Headers()
	var o Order
	if err := json.Unmarshal(msg.Data(), &o); err != nil {
		return err
	}
	if err := handle(h.Get("ce-id"), h.Get("ce-type"), o); err != nil {
		return err
	}
	return msg.Ack()
}

func (raw) Call(ctx context.Context, s *session) (callFunc, error) {
	sub, err := s.receive.QueueSubscribe(rawEndpoint, "q", func(msg *nats.Msg) {
		var o Order
		if err := json.Unmarshal(msg.Data, &o); err != nil {
			return // the caller's timeout tells
		}
		if err := s.work(ctx); err != nil {
			return
		}
		data, err := json.Marshal(answer(o))
		if err != nil {
			return
		}
		_ = msg.Respond(data) // likewise
	})
	if err != nil {
		return nil, err
	}
	s.onClose(func(context.Context) error { return sub.Unsubscribe() })
	if err := s.receive.Flush(); err != nil {
		return nil, err
	}
	return rawCaller(s), nil
}

// rawEndpoint is where all contenders serve.
const rawEndpoint = "rpc.bench.quote"

// rawCaller calls by nats.go alone.
func rawCaller(s *session) callFunc {
	return func(ctx context.Context, o Order) (res Order, err error) {
		data, err := json.Marshal(o)
		if err != nil {
			return Order{}, err
		}
		msg, err := s.send.RequestMsgWithContext(ctx, &nats.Msg{Subject: rawEndpoint, Data: data})
		if err != nil {
			return Order{}, err
		}
		err = json.Unmarshal(msg.Data, &res)
		return res, err
	}
}
