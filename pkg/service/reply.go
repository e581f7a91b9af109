package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

const (
	// maxErrorText bounds an error's text on the wire, maxErrorHeader its copy
	// in the header that tools show.
	maxErrorText   = 8 << 10
	maxErrorHeader = 1 << 10
)

// errorBody is the body of an error reply: never empty, and readable by a
// person at a terminal.
type errorBody struct {
	Code     string `json:"code"`
	Message  string `json:"message"`
	ID       string `json:"id,omitempty"`
	Instance string `json:"instance,omitempty"`
}

// reply sends a result. JSON is never empty: at least `null`.
func (s *server) reply(ep *endpoint, x *inflight, data []byte) {
	if x.reply == "" {
		return
	}
	if len(data) == 0 {
		data = []byte("null")
	}
	var err error
	if header(x.header, HeaderInstance) == "" {
		err = s.nc.Publish(x.reply, data)
	} else {
		err = s.nc.PublishMsg(&nats.Msg{Subject: x.reply, Data: data, Header: nats.Header{HeaderInstance: {s.id.Instance}}})
	}
	switch {
	case err == nil:
	case errors.Is(err, nats.ErrMaxPayload):
		s.fail(ep, x, Errorf(CodeResourceExhausted,
			"result of %d bytes exceeds the server's limit of %d", len(data), s.nc.MaxPayload()))
	default:
		s.notSent(ep, err)
	}
}

// fail counts an error and sends it to the caller, if there is one.
func (s *server) fail(ep *endpoint, x *inflight, e *Error) {
	ep.stats.fail(e)
	if x.reply == "" {
		if s.castLog.allow() {
			s.log.WarnContext(x, "cast failed", "service", s.id.Name, "endpoint", ep.name, "error", e)
		}
		return
	}
	m, err := errorReply(x.reply, s.id.Instance, e)
	if err == nil {
		err = s.nc.PublishMsg(m)
	}
	if err != nil {
		s.notSent(ep, err)
	}
}

// notSent is a reply that could not be handed to the connection.
func (s *server) notSent(ep *endpoint, err error) {
	ep.stats.fail(fmt.Errorf("reply: %w", err))
	s.log.Warn("reply not sent", "service", s.id.Name, "endpoint", ep.name, "error", err)
}

func errorReply(to, instance string, e *Error) (*nats.Msg, error) {
	text := onLine(e.Message, maxErrorText)
	body, err := json.Marshal(errorBody{Code: e.Code.String(), Message: text, ID: e.ID, Instance: instance})
	if err != nil {
		return nil, err
	}
	return &nats.Msg{
		Subject: to,
		Data:    body,
		Header: nats.Header{
			headerServiceError:     {onLine(text, maxErrorHeader)},
			headerServiceErrorCode: {e.Code.row().number},
			HeaderErrorCode:        {e.Code.String()},
		},
	}, nil
}

// onLine makes text fit for a header: valid UTF-8 without control characters,
// at most limit bytes.
func onLine(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit-len("…")] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}

// refuseReply drops a request whose reply would go where no caller listens.
// It says so at most once a second: the request is hostile, or it is a flood.
func (s *server) refuseReply(ep *endpoint, m *nats.Msg) {
	n := s.badReplies.Add(1)
	ep.stats.fail(fmt.Errorf("reply subject %.60q is no inbox", m.Reply))
	if s.badReplyLog.allow() {
		s.log.Warn("request dropped: its reply subject is no inbox",
			"service", s.id.Name, "endpoint", ep.name, "reply", onLine(m.Reply, 200), "dropped_so_far", n)
	}
}
