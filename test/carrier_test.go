package test_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
)

// carrier sends messages through a real server, so that what is read is what a
// receiver gets and not what a sender has built: nats.go itself changes header
// values on the way.
type carrier struct {
	nc  *nats.Conn
	sub *nats.Subscription
}

func newCarrier(t *testing.T) *carrier {
	t.Helper()
	nc := testserver.Start(t).Connect(t)
	sub, err := nc.SubscribeSync("carrier")
	if err != nil {
		t.Fatal(err)
	}
	return &carrier{nc, sub}
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

func (c *carrier) carry(t fataler, header nats.Header, data []byte) *nats.Msg {
	t.Helper()
	if err := c.nc.PublishMsg(&nats.Msg{Subject: c.sub.Subject, Header: header, Data: data}); err != nil {
		t.Fatal(err)
	}
	msg, err := c.sub.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}
