// Command plain is a program of bare nats.go that was written after
// docs/wire.md. It imports nothing of Agner and no CloudEvents library.
//
//	plain publish URL N            publish N orders
//	plain handle URL N             print the next N orders as JSON lines
//	plain call URL TARGET JSON MS  call an endpoint, print what comes back within so many milliseconds
//	plain cancel URL TARGET JSON   call an endpoint and give up once it has nothing to say for a moment
//	plain gather URL TARGET JSON N call all instances, print N replies
//	plain serve URL                answer greeter.hello until standard input ends
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	eventsStream = "EVENTS"
	orderType    = "shop.order.placed.v1"
	orders       = "events." + orderType + "."
)

type order struct {
	OrderID string `json:"order_id"`
	Cents   int64  `json:"cents"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "plain:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return errors.New("use: plain publish|handle|call|cancel|gather|serve URL …")
	}
	nc, err := nats.Connect(args[1])
	if err != nil {
		return err
	}
	defer nc.Close()
	out := json.NewEncoder(os.Stdout)
	switch {
	case args[0] == "publish" && len(args) == 3:
		return publish(ctx, nc, args[2])
	case args[0] == "handle" && len(args) == 3:
		return handle(ctx, nc, args[2], out)
	case args[0] == "call" && len(args) == 5:
		return call(ctx, nc, args[2:], out)
	case args[0] == "cancel" && len(args) == 4:
		return cancel(ctx, nc, args[2], args[3], out)
	case args[0] == "gather" && len(args) == 5:
		return gather(ctx, nc, args[2:], out)
	case args[0] == "serve":
		return serve(nc, os.Stdin)
	}
	return fmt.Errorf("no such command: %q", args)
}

// granted is how long the caller of a request waits, in milliseconds: the header,
// or what follows the last '~' of the reply subject.
func granted(msg *nats.Msg) string {
	if v := msg.Header.Get("Agner-Timeout"); v != "" {
		return v
	}
	return msg.Reply[strings.LastIndexByte(msg.Reply, '~')+1:]
}

func publish(ctx context.Context, nc *nats.Conn, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for i := range n {
		o := order{OrderID: "plain-" + strconv.Itoa(i), Cents: int64(i)}
		data, err := json.Marshal(o)
		if err != nil {
			return err
		}
		if _, err := js.PublishMsg(ctx, &nats.Msg{
			Subject: orders + o.OrderID,
			Data:    data,
			Header: nats.Header{
				"ce-specversion":     {"1.0"},
				"ce-id":              {"plain%20" + strconv.Itoa(i)}, // a space, as the binding encodes it
				"ce-source":          {"/plain"},
				"ce-type":            {orderType},
				"ce-time":            {time.Now().UTC().Format(time.RFC3339Nano)},
				"ce-datacontenttype": {"application/json"},
				"ce-partitionkey":    {o.OrderID},
				"Nats-Msg-Id":        {"plain-" + strconv.Itoa(i)},
			},
		}); err != nil {
			return err
		}
	}
	return nil
}

// received is what handle prints of an event.
type received struct {
	Subject string      `json:"subject"`
	Header  nats.Header `json:"header"`
	Order   order       `json:"order"`
}

func handle(ctx context.Context, nc *nats.Conn, count string, out *json.Encoder) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	cons, err := js.CreateConsumer(ctx, eventsStream, jetstream.ConsumerConfig{
		Durable:       "plain_orders",
		AckPolicy:     jetstream.AckExplicitPolicy,
		FilterSubject: orders + "*",
	})
	if err != nil {
		return err
	}
	msgs, err := cons.Messages()
	if err != nil {
		return err
	}
	defer msgs.Stop()
	for range n {
		msg, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		r := received{Subject: msg.Subject(), Header: msg.Headers()}
		if err := json.Unmarshal(msg.Data(), &r.Order); err != nil {
			return err
		}
		if err := out.Encode(r); err != nil {
			return err
		}
		if err := msg.DoubleAck(ctx); err != nil {
			return err
		}
	}
	return nil
}

// reply is what call prints.
type reply struct {
	Body      json.RawMessage `json:"body,omitempty"`
	Code      string          `json:"code,omitempty"`       // Nats-Service-Error-Code
	Error     string          `json:"error,omitempty"`      // Nats-Service-Error
	ErrorName string          `json:"error_name,omitempty"` // Agner-Error-Code
	Instance  string          `json:"instance,omitempty"`   // Agner-Instance
}

func replyOf(msg *nats.Msg) reply {
	return reply{
		Body:      msg.Data,
		Code:      msg.Header.Get("Nats-Service-Error-Code"),
		Error:     msg.Header.Get("Nats-Service-Error"),
		ErrorName: msg.Header.Get("Agner-Error-Code"),
		Instance:  msg.Header.Get("Agner-Instance"),
	}
}

// patience is longer than any timeout that is asked for here.
const patience = 10 * time.Second

func call(ctx context.Context, nc *nats.Conn, args []string, out *json.Encoder) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	msg, err := nc.RequestMsgWithContext(ctx, &nats.Msg{
		Subject: "rpc." + args[0],
		Header:  nats.Header{"Agner-Timeout": {args[2]}},
		Data:    []byte(args[1]),
	})
	if err != nil {
		return err
	}
	return out.Encode(replyOf(msg))
}

// cancel gives a call up and prints the service's last word on it.
func cancel(ctx context.Context, nc *nats.Conn, target, body string, out *json.Encoder) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	inbox := nc.NewRespInbox()
	replies, err := nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	if err := nc.PublishRequest("rpc."+target, inbox, []byte(body)); err != nil {
		return err
	}
	if _, err := replies.NextMsg(100 * time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		return fmt.Errorf("it has answered: %w", err)
	}
	service, _, _ := strings.Cut(target, ".")
	if err := nc.Publish("rpc."+service+".cancel", []byte(inbox)); err != nil {
		return err
	}
	msg, err := replies.NextMsgWithContext(ctx)
	if err != nil {
		return err
	}
	return out.Encode(replyOf(msg))
}

func gather(ctx context.Context, nc *nats.Conn, args []string, out *json.Encoder) error {
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	inbox := nc.NewRespInbox()
	replies, err := nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	if err := nc.PublishMsg(&nats.Msg{
		Subject: "rpc." + args[0] + ".all", Reply: inbox,
		Header: nats.Header{"Agner-Instance": {"?"}}, Data: []byte(args[1]),
	}); err != nil {
		return err
	}
	for range n {
		msg, err := replies.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		if err := out.Encode(replyOf(msg)); err != nil {
			return err
		}
	}
	return nil
}

// serve answers greeter.hello, and greeter.fail with an error.
func serve(nc *nats.Conn, in io.Reader) error {
	if _, err := nc.QueueSubscribe("rpc.greeter.hello", "q", func(msg *nats.Msg) {
		var who struct {
			Name string `json:"name"`
		}
		if err := json.Unmarshal(msg.Data, &who); err != nil {
			return
		}
		data, err := json.Marshal(map[string]string{"text": "hello " + who.Name, "timeout": granted(msg)})
		if err != nil {
			return
		}
		_ = msg.Respond(data)
	}); err != nil {
		return err
	}
	if _, err := nc.QueueSubscribe("rpc.greeter.fail", "q", func(msg *nats.Msg) {
		_ = msg.RespondMsg(&nats.Msg{
			Header: nats.Header{"Nats-Service-Error-Code": {"404"}, "Nats-Service-Error": {"nobody of that name"}},
			Data:   []byte("null"),
		})
	}); err != nil {
		return err
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	fmt.Println(`{"ready":true}`)
	_, err := io.Copy(io.Discard, in)
	return err
}
