package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Error is a reply that is an error: what the instance said, with the code
// that calls have too.
type Error struct {
	Code     string `json:"code"`
	Message  string `json:"message"`
	Instance string `json:"instance"`
}

// Error gives code and message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Headers as calls have them.
const (
	headerTimeout   = "Agner-Timeout"
	headerErrorCode = "Agner-Error-Code"
)

// Ask asks one instance. The error is a *Error, or wraps nats.ErrNoResponders
// if nobody listens: no such instance, or one whose admin verbs are off.
func Ask(ctx context.Context, nc *nats.Conn, subject string, request any) (Reply, error) {
	m, err := message(ctx, subject, request)
	if err != nil {
		return Reply{}, err
	}
	answer, err := nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return Reply{}, fmt.Errorf("%s: %w", subject, err)
	}
	return read(answer)
}

const (
	// quiet ends a gathering: nobody has answered for so long, or for
	// quietFactor times what the last answer took, if that is more.
	quiet       = 300 * time.Millisecond
	quietFactor = 3
)

// Gather asks all who listen to a subject of read verbs, and gives each answer,
// or an instance's *Error, to each, until that returns false, nobody has
// answered for a moment, or ctx ends, which is no error. Nobody at all is
// nats.ErrNoResponders.
func Gather(ctx context.Context, nc *nats.Conn, subject string, request any, each func(Reply, error) bool) error {
	m, err := message(ctx, subject, request)
	if err != nil {
		return err
	}
	m.Reply = nc.NewRespInbox()
	sub, err := nc.SubscribeSync(m.Reply)
	if err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // ended with the connection is as good
	if err := nc.PublishMsg(m); err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	asked := time.Now()
	var patience time.Duration // for the first answer as long as ctx allows
	for {
		answer, err := next(ctx, sub, patience)
		switch {
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
			return nil // quiet, or out of time: who has answered is the answer
		case err != nil:
			return fmt.Errorf("%s: %w", subject, err)
		case !each(read(answer)):
			return nil
		}
		patience = max(quiet, quietFactor*time.Since(asked))
	}
}

// next waits for a message, at most for a limit if that is not 0.
func next(ctx context.Context, sub *nats.Subscription, limit time.Duration) (*nats.Msg, error) {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	return sub.NextMsgWithContext(ctx)
}

// message encodes a request, with the time that is left for it.
func message(ctx context.Context, subject string, request any) (*nats.Msg, error) {
	m := &nats.Msg{Subject: subject}
	if request != nil {
		data, err := json.Marshal(request)
		if err != nil {
			return nil, fmt.Errorf("%s: encode request: %w", subject, err)
		}
		m.Data = data
	}
	if end, ok := ctx.Deadline(); ok {
		left := max(1, time.Until(end).Milliseconds())
		m.Header = nats.Header{headerTimeout: {strconv.FormatInt(left, 10)}}
	}
	return m, nil
}

func read(m *nats.Msg) (r Reply, err error) {
	if code := m.Header.Get(headerErrorCode); code != "" {
		e := &Error{}
		if err := json.Unmarshal(m.Data, e); err != nil {
			return r, fmt.Errorf("%s: reply is no JSON: %w", code, err)
		}
		return r, e
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return r, fmt.Errorf("reply is no JSON: %w", err)
	}
	return r, nil
}
