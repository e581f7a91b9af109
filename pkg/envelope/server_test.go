package envelope_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
)

// pubAck is the answer of JetStream to a publish, as far as these tests look.
type pubAck struct {
	Duplicate bool `json:"duplicate"`
	Error     struct {
		Code int `json:"err_code"`
	} `json:"error"`
}

func request(t *testing.T, nc *nats.Conn, msg *nats.Msg) pubAck {
	t.Helper()
	reply, err := nc.RequestMsgWithContext(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	var ack pubAck
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		t.Fatal(err)
	}
	return ack
}

// connectStream gives a connection to a server with a stream on subject e. It
// speaks the wire: this package knows no JetStream, nor do its tests.
func connectStream(t *testing.T) *nats.Conn {
	t.Helper()
	nc := testserver.Start(t).Connect(t)
	create := nats.NewMsg("$JS.API.STREAM.CREATE.E")
	create.Data = []byte(`{"name":"E","subjects":["e"],"storage":"memory","retention":"limits","duplicate_window":120000000000}`)
	if ack := request(t, nc, create); ack.Error.Code != 0 {
		t.Fatalf("stream: error %d", ack.Error.Code)
	}
	return nc
}

// TestThroughServer takes events of both modes through a server.
func TestThroughServer(t *testing.T) {
	t.Parallel()
	nc := testserver.Start(t).Connect(t)
	sub, err := nc.SubscribeSync("e")
	if err != nil {
		t.Fatal(err)
	}
	odd := nine()
	odd.Time = odd.Time.In(time.FixedZone("", -3600))
	odd.Subject, odd.Key = ` "Euro" € 😀 100%41 `, "a:b\u00a0"
	odd.Extensions = []envelope.Extension{{Name: "empty", Value: ""}, {Name: "x", Value: "%0D%0ANats-Msg-Id: x"}}
	full := least()
	full.Extensions = []envelope.Extension{{Name: "x", Value: strings.Repeat("x", envelope.MaxHeader-400)}}
	for _, e := range []envelope.Raw{least(), nine(), odd, full} {
		for _, marshal := range []func(*envelope.Raw) (*nats.Msg, error){envelope.Marshal, envelope.MarshalStructured} {
			msg, err := marshal(&e)
			if err != nil {
				t.Fatal(err)
			}
			msg.Subject = "e"
			if err := nc.PublishMsg(msg); err != nil {
				t.Fatal(err)
			}
			received, err := sub.NextMsgWithContext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got, err := envelope.Unmarshal(received)
			if err != nil {
				t.Fatal(err)
			}
			if !equal(&got, &e) {
				t.Errorf("got  %+v %q\nwant %+v %q", got.Attributes, got.Data, e.Attributes, e.Data)
			}
		}
	}
}

// TestHeaderHeadroom holds MaxHeader against the server's own limit: an event
// with as much as is allowed takes HeaderHeadroom more, and not a byte beyond.
func TestHeaderHeadroom(t *testing.T) {
	t.Parallel()
	nc := connectStream(t)
	block := func(size int) *nats.Msg {
		msg := nats.NewMsg("e")
		msg.Header["x"] = []string{strings.Repeat("x", size-envelope.HeaderSize(nats.Header{"x": {""}}))}
		return msg
	}
	const limit = envelope.MaxHeader + envelope.HeaderHeadroom
	if ack := request(t, nc, block(limit)); ack.Error.Code != 0 {
		t.Errorf("a header block of %d: error %d", limit, ack.Error.Code)
	}
	if ack := request(t, nc, block(limit+1)); ack.Error.Code != 10097 {
		t.Errorf("a header block of %d: error %d, want 10097: the server's limit has moved", limit+1, ack.Error.Code)
	}
}

func TestMessageIDDeduplicates(t *testing.T) {
	t.Parallel()
	nc := connectStream(t)
	for _, tc := range []struct {
		source, id string
		duplicate  bool
	}{{"/a", "1", false}, {"/a", "1", true}, {"/b", "1", false}} {
		msg := nats.NewMsg("e")
		msg.Header[nats.MsgIdHdr] = []string{envelope.MessageID(tc.source, tc.id)}
		if ack := request(t, nc, msg); ack.Error.Code != 0 || ack.Duplicate != tc.duplicate {
			t.Errorf("%s %s: %+v", tc.source, tc.id, ack)
		}
	}
}
