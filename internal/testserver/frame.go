package testserver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// Direction says which way a frame travels.
type Direction int

// The two directions through a [Proxy].
const (
	ToServer Direction = iota + 1
	ToClient
)

// Frame is one message on its way through a [Proxy]. Its bytes are what will be
// passed on: they must not be changed.
type Frame struct {
	Direction Direction
	// Op is PUB or HPUB on the way to the server, MSG or HMSG to the client.
	Op string
	// Subject is the subject as sent; of a delivery from a stream that of the
	// stored message, not the consumer's inbox.
	Subject string
	// Reply is the reply subject: the inbox of a request, or the $JS.ACK
	// subject of a delivery.
	Reply string
	// Answers is the subject to which the request went that this frame answers,
	// if it does: of a publish ack, the subject of the publish.
	Answers string
	// Header is the raw header block and Data the payload.
	Header, Data []byte
}

// Published matches what the client publishes to subject, wildcards allowed:
// Published("$JS.ACK.>") are its acknowledgements.
func Published(subject string) func(Frame) bool {
	return func(f Frame) bool { return f.Direction == ToServer && server.SubjectsCollide(f.Subject, subject) }
}

// Delivered matches what the server delivers to the client with subject,
// wildcards allowed.
func Delivered(subject string) func(Frame) bool {
	return func(f Frame) bool { return f.Direction == ToClient && server.SubjectsCollide(f.Subject, subject) }
}

// Answered matches the answers to what the client has published to subject,
// wildcards allowed: Answered("events.>") are the acks of its publishes there.
func Answered(subject string) func(Frame) bool {
	return func(f Frame) bool {
		return f.Direction == ToClient && f.Answers != "" && server.SubjectsCollide(f.Answers, subject)
	}
}

// maxPayload is the server's own upper bound. What claims to be longer is passed
// on as it comes, and the server ends the connection.
const maxPayload = 64 << 20

// readFrame reads one protocol line and, of a message, its payload. It returns
// the bytes to pass on, and the frame if they are a message.
func readFrame(r *bufio.Reader, dir Direction) (raw []byte, frame *Frame, err error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return line, nil, err
	}
	if body, ok := bytes.CutPrefix(line, []byte("INFO ")); ok && dir == ToClient {
		return withoutPeers(line, body), nil, nil
	}
	f, header, total, ok := parseMessage(strings.Fields(string(line)))
	if !ok {
		return line, nil, nil
	}
	// The buffer grows with what arrives, not with what the line claims.
	buf := bytes.NewBuffer(line)
	if _, err := io.CopyN(buf, r, int64(total+len("\r\n"))); err != nil {
		return nil, nil, fmt.Errorf("payload of %s: %w", f.Subject, err)
	}
	raw = buf.Bytes()
	body := raw[len(line) : len(line)+total]
	f.Direction, f.Header, f.Data = dir, body[:header], body[header:]
	return raw, f, nil
}

// parseMessage reads the arguments of the four operations that carry a message:
//
//	PUB  subject [reply] size          MSG  subject sid [reply] size
//	HPUB subject [reply] header total  HMSG subject sid [reply] header total
func parseMessage(line []string) (f *Frame, header, total int, ok bool) {
	if len(line) == 0 {
		return nil, 0, 0, false
	}
	op, args := strings.ToUpper(line[0]), line[1:]
	sizes, fixed := 1, 1
	switch op {
	case "PUB":
	case "HPUB":
		sizes = 2
	case "MSG":
		fixed = 2
	case "HMSG":
		sizes, fixed = 2, 2
	default:
		return nil, 0, 0, false
	}
	extra := len(args) - sizes - fixed
	if extra < 0 || extra > 1 {
		return nil, 0, 0, false
	}
	total, err := strconv.Atoi(args[len(args)-1])
	if err != nil || total < 0 || total > maxPayload {
		return nil, 0, 0, false
	}
	if sizes == 2 {
		header, err = strconv.Atoi(args[len(args)-2])
		if err != nil || header < 0 || header > total {
			return nil, 0, 0, false
		}
	}
	f = &Frame{Op: op, Subject: args[0]}
	if extra == 1 {
		f.Reply = args[fixed]
	}
	return f, header, total, true
}

// withoutPeers takes the addresses of the other servers out of an INFO line: a
// client that learns them goes around the proxy when it reconnects.
func withoutPeers(line, body []byte) []byte {
	var info map[string]json.RawMessage
	if err := json.Unmarshal(body, &info); err != nil {
		return line
	}
	delete(info, "connect_urls")
	delete(info, "ws_connect_urls")
	out, err := json.Marshal(info)
	if err != nil {
		return line
	}
	return bytes.Join([][]byte{[]byte("INFO "), out, []byte("\r\n")}, nil)
}

// requests remembers the reply subjects of the latest requests through a proxy,
// of all connections: a client that reconnects listens on the same ones.
type requests struct {
	mu      sync.Mutex
	subject map[string]string
	order   []string
	lost    map[string]bool
}

// requestMemory is far more than the clients have under way at once.
const requestMemory = 1 << 16

func (q *requests) add(reply, subject string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, known := q.subject[reply]; !known {
		q.order = append(q.order, reply)
	}
	q.subject[reply] = subject
	if len(q.order) > requestMemory {
		delete(q.subject, q.order[0])
		delete(q.lost, q.order[0])
		q.order = q.order[1:]
	}
}

// lose says that whatever comes to reply must not reach the client.
func (q *requests) lose(reply string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lost[reply] = true
}

// answered returns the subject of the request that a message to reply answers,
// if any, and whether that answer is lost.
func (q *requests) answered(reply string) (subject string, lost bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.subject[reply], q.lost[reply]
}

func newRequests() *requests {
	return &requests{subject: make(map[string]string), lost: make(map[string]bool)}
}
