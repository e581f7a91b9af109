package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

// Client sends messages to the entities of one inbox, from any process. It is
// safe for concurrent use. Close it to wait for what is in flight.
type Client struct {
	js    jetstream.JetStream
	nc    *nats.Conn
	name  string
	cfg   clientConfig
	pub   *publish.Publisher
	codec envelope.Codec
}

type clientConfig struct {
	publish    publish.Config
	partitions int
	askTimeout time.Duration
}

// ClientOption changes a [Client].
type ClientOption func(*clientConfig)

// WithPublishConfig sets how messages are published: source, namespace, codecs,
// window, retries. An empty Source stays the default, "/inbox/<name>/client".
// Without Provision, set to new(true), nothing is made.
func WithPublishConfig(cfg publish.Config) ClientOption {
	return func(c *clientConfig) { c.publish = cfg }
}

// WithPartitions says how many partitions the inbox has, for a client that may
// make its streams. Default DefaultPartitions.
func WithPartitions(n int) ClientOption { return func(c *clientConfig) { c.partitions = n } }

// WithAskTimeout bounds an [Ask] whose context has no deadline. Default 5 s.
func WithAskTimeout(d time.Duration) ClientOption {
	return func(c *clientConfig) { c.askTimeout = d }
}

// NewClient makes a client of the inbox called name. It validates and starts
// nothing. Unless told otherwise it makes no streams: the inbox does.
func NewClient(js jetstream.JetStream, name string, opts ...ClientOption) (*Client, error) {
	if js == nil {
		return nil, fmt.Errorf("inbox: client: JetStream is nil: %w", ErrConfig)
	}
	if err := subject.CheckName("inbox", name); err != nil {
		return nil, fmt.Errorf("inbox: client: %w", err)
	}
	c := &Client{js: js, nc: js.Conn(), name: name, cfg: clientConfig{partitions: DefaultPartitions, askTimeout: 5 * time.Second}}
	for _, o := range opts {
		o(&c.cfg)
	}
	if c.cfg.partitions < 1 || c.cfg.partitions > MaxPartitions || c.cfg.askTimeout <= 0 {
		return nil, fmt.Errorf("inbox: client: WithPartitions must be 1 to %d, WithAskTimeout more than 0: %w", MaxPartitions, ErrConfig)
	}
	cfg := c.cfg.publish
	if cfg.Source == "" {
		cfg.Source = "/inbox/" + name + "/client"
	}
	if cfg.Provision == nil {
		cfg.Provision = new(false)
	}
	var err error
	if c.pub, err = publish.NewInto(js, cfg, stream.InboxTarget(subject.Namespace(cfg.Namespace), name, c.cfg.partitions)); err != nil {
		return nil, fmt.Errorf("inbox: client: %w", err)
	}
	if c.codec, err = cfg.Codecs.For("application/json"); err != nil {
		return nil, fmt.Errorf("inbox: client: %w", err)
	}
	return c, nil
}

// Send stores a message for the entity of a key and returns once the mailbox has
// it. The guarantees, errors and options are those of [publish.Publisher.Publish]:
// messages of one client for one key are handled in the order in which they were
// sent. WithKey has no effect.
func (c *Client) Send(ctx context.Context, key string, p envelope.Payload, opts ...publish.Option) error {
	_, err := c.pub.Publish(ctx, p, c.toKey(key, opts)...)
	if err != nil {
		return fmt.Errorf("inbox %s: send to %q: %w", c.name, key, err)
	}
	return nil
}

// SendAsync is Send without waiting; see [publish.Publisher.PublishAsync].
func (c *Client) SendAsync(ctx context.Context, key string, p envelope.Payload, opts ...publish.Option) *publish.Future {
	return c.pub.PublishAsync(ctx, p, c.toKey(key, opts)...)
}

func (c *Client) toKey(key string, opts []publish.Option) []publish.Option {
	return append(opts[:len(opts):len(opts)], publish.WithKey(key))
}

// Close waits until what was sent is settled, or ctx ends.
func (c *Client) Close(ctx context.Context) error { return c.pub.Close(ctx) }

// Ask sends a question to the entity of a key and returns the answer of its
// handler, made by [Answer]. The question takes its turn in the mailbox, and the
// answer comes after the commit of what the handler did.
//
// An error that matches [ErrAnswer] is the handler's: nothing was changed. One
// that matches [ErrNoAnswer] says that the question is stored, and its answer did
// not come before ctx ended, or in 5 s where ctx has no deadline: it may still be
// handled. Other errors are those of Send.
func Ask[Res any](ctx context.Context, c *Client, key string, q envelope.Payload, opts ...publish.Option) (Res, error) {
	var res Res
	data, err := c.ask(ctx, key, q, opts)
	if err == nil {
		err = envelope.JSON{}.Decode(data, &res)
	}
	if err != nil {
		return res, fmt.Errorf("inbox %s: ask %q: %w", c.name, key, err)
	}
	return res, nil
}

func (c *Client) ask(ctx context.Context, key string, q envelope.Payload, opts []publish.Option) ([]byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.askTimeout)
		defer cancel()
	}
	inbox := c.nc.NewInbox()
	sub, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("subscribe to the answer: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // an error says that it has ended already
	opts = append(c.toKey(key, opts), publish.WithExtension(attributeReply, inbox))
	if _, err := c.pub.Publish(ctx, q, opts...); err != nil {
		return nil, err
	}
	m, err := sub.NextMsgWithContext(ctx)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, nats.ErrTimeout) {
			return nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
		}
		return nil, fmt.Errorf("wait for the answer: %w", err)
	}
	switch m.Header.Get(headerAnswer) {
	case answerOK:
		return m.Data, nil
	case answerRefused:
		return nil, &AnswerError{Text: string(m.Data), Refused: true}
	default:
		return nil, &AnswerError{Text: string(m.Data)}
	}
}
