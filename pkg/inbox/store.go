package inbox

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// requestTimeout bounds one question to the server.
const requestTimeout = 5 * time.Second

// apiPrefix is where requests to JetStream go, with its last dot.
func apiPrefix(js jetstream.JetStream) string {
	o := js.Options()
	switch {
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	case o.APIPrefix == "":
		return jetstream.DefaultAPIPrefix
	case o.APIPrefix[len(o.APIPrefix)-1] != '.':
		return o.APIPrefix + "."
	}
	return o.APIPrefix
}

// server is the way to the server's streams.
type server struct {
	js   jetstream.JetStream
	nc   *nats.Conn
	api  string
	link *link // nil for one question
}

func newServer(js jetstream.JetStream, l *link) server {
	return server{js: js, nc: js.Conn(), api: apiPrefix(js), link: l}
}

// ask sends a request to JetStream and waits for the answer.
func (s server) ask(ctx context.Context, verb, stream string, request []byte) (*nats.Msg, error) {
	if !s.nc.IsConnected() {
		return nil, nats.ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	ctx, unbind := s.link.bind(ctx)
	defer unbind()
	m, err := s.nc.RequestWithContext(ctx, s.api+verb+"."+stream, request)
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return m, err
}

// stored is a message as a stream holds it.
type stored struct {
	seq    uint64
	header nats.Header
	data   []byte
}

// last reads the last message of a subject. It asks the stream's leader, never a
// replica that may lag, and returns nil if there is none.
func (s server) last(ctx context.Context, stream, subj string) (*stored, error) {
	m, err := s.ask(ctx, "STREAM.MSG.GET", stream, []byte(`{"last_by_subj":"`+subj+`"}`))
	if err != nil {
		return nil, fmt.Errorf("read %s from %s: %w", subj, stream, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Sequence uint64 `json:"seq"`
			Header   string `json:"hdrs"`
			Data     string `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, fmt.Errorf("read %s from %s: %w", subj, stream, err)
	}
	if answer.Error != nil {
		if answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return nil, nil
		}
		return nil, fmt.Errorf("read %s from %s: %w", subj, stream, answer.Error)
	}
	if answer.Message == nil {
		return nil, fmt.Errorf("read %s from %s: %w", subj, stream, errors.New("the answer holds no message"))
	}
	out := &stored{seq: answer.Message.Sequence}
	if out.data, err = base64.StdEncoding.DecodeString(answer.Message.Data); err != nil {
		return nil, fmt.Errorf("read %s from %s: %w", subj, stream, err)
	}
	if out.header, err = decodeHeader(answer.Message.Header); err != nil {
		return nil, fmt.Errorf("read %s from %s: %w", subj, stream, err)
	}
	return out, nil
}

func decodeHeader(encoded string) (nats.Header, error) {
	if encoded == "" {
		return nats.Header{}, nil
	}
	block, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, err
	}
	return nats.DecodeHeadersMsg(block)
}

// purge removes what a stream holds below a sequence, under a filter unless that
// is empty.
func (s server) purge(ctx context.Context, stream, filter string, below uint64) error {
	what := map[string]any{"seq": below}
	if filter != "" {
		what["filter"] = filter
	}
	req, err := json.Marshal(what)
	if err != nil {
		return err
	}
	m, err := s.ask(ctx, "STREAM.PURGE", stream, req)
	if err != nil {
		return fmt.Errorf("trim %s of %s: %w", filter, stream, err)
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("trim %s of %s: %w", filter, stream, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("trim %s of %s: %w", filter, stream, answer.Error)
	}
	return nil
}
