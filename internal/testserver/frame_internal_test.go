package testserver

import (
	"bufio"
	"bytes"
	"strconv"
	"strings"
	"testing"
)

func TestReadFrame(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		dir  Direction
		in   string
		want *Frame
	}{
		"publish":      {ToServer, "PUB a.b 2\r\nhi\r\n", &Frame{Op: "PUB", Subject: "a.b", Data: []byte("hi")}},
		"tabs":         {ToServer, "PUB\ta.b\t_INBOX.1\t0\r\n\r\n", &Frame{Op: "PUB", Subject: "a.b", Reply: "_INBOX.1"}},
		"lower case":   {ToServer, "pub a.b _INBOX.1 0\r\n\r\n", &Frame{Op: "PUB", Subject: "a.b", Reply: "_INBOX.1"}},
		"with headers": {ToServer, "HPUB a r 4 6\r\nHHHHdd\r\n", &Frame{Op: "HPUB", Subject: "a", Reply: "r", Header: []byte("HHHH"), Data: []byte("dd")}},
		"delivery":     {ToClient, "MSG a 7 $JS.ACK.x 1\r\nd\r\n", &Frame{Op: "MSG", Subject: "a", Reply: "$JS.ACK.x", Data: []byte("d")}},
		"line breaks":  {ToClient, "HMSG a 7 2 6\r\nHH\r\n\r\n\r\n", &Frame{Op: "HMSG", Subject: "a", Header: []byte("HH"), Data: []byte("\r\n\r\n")}},
		"ping":         {ToClient, "PING\r\n", nil},
		"no size":      {ToServer, "PUB a x\r\n", nil},
		"too many":     {ToServer, "PUB a b c 1\r\n", nil},
		"too long":     {ToServer, "PUB a 67108865\r\n", nil},
		"header > all": {ToServer, "HPUB a 3 2\r\n", nil},
		"negative":     {ToServer, "PUB a -1\r\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, got, err := readFrame(bufio.NewReader(strings.NewReader(tt.in)), tt.dir)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == nil {
				if got != nil {
					t.Fatalf("got %+v, want no message", got)
				}
				return
			}
			if string(raw) != tt.in {
				t.Errorf("raw = %q", raw)
			}
			if got == nil {
				t.Fatal("not seen as a message")
			}
			if got.Op != tt.want.Op || got.Subject != tt.want.Subject || got.Reply != tt.want.Reply ||
				got.Direction != tt.dir || !bytes.Equal(got.Header, tt.want.Header) || !bytes.Equal(got.Data, tt.want.Data) {
				t.Errorf("got %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestInfoHidesTheOtherServers(t *testing.T) {
	t.Parallel()
	in := `INFO {"server_id":"A","max_payload":1048576,"connect_urls":["127.0.0.1:1"],"ws_connect_urls":["127.0.0.1:2"]}` + "\r\n"
	raw, _, err := readFrame(bufio.NewReader(strings.NewReader(in)), ToClient)
	if err != nil {
		t.Fatal(err)
	}
	if want := `INFO {"max_payload":1048576,"server_id":"A"}` + "\r\n"; string(raw) != want {
		t.Errorf("got  %q\nwant %q", raw, want)
	}
}

func TestRequestsForgetTheOldest(t *testing.T) {
	t.Parallel()
	q := newRequests()
	q.add("first", "s")
	q.lose("first")
	for i := range requestMemory {
		q.add(strconv.Itoa(i), "s")
	}
	if subject, lost := q.answered("first"); subject != "" || lost {
		t.Error("the oldest is still known")
	}
	if len(q.subject) > requestMemory {
		t.Errorf("%d remembered, limit %d", len(q.subject), requestMemory)
	}
}

// FuzzReadFrame: whatever bytes a client sends, they pass unchanged, and a
// message's parts lie within them.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("PUB a.b 2\r\nhi\r\nPING\r\n"))
	f.Add([]byte("HPUB a r 4 6\r\nHHHHdd\r\nSUB x 1\r\n"))
	f.Add([]byte("PUB a 99\r\nshort"))
	f.Add([]byte("PUB  \n\nHPUB a 1 0\r\nINFO {}\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bufio.NewReader(bytes.NewReader(in))
		var passed int
		for {
			raw, frame, err := readFrame(r, ToServer)
			if err != nil {
				return
			}
			if !bytes.Equal(raw, in[passed:passed+len(raw)]) {
				t.Fatalf("passed %q at %d of %q", raw, passed, in)
			}
			passed += len(raw)
			if frame != nil && !bytes.Contains(raw, append(bytes.Clone(frame.Header), frame.Data...)) {
				t.Fatalf("payload %q is not within %q", frame.Data, raw)
			}
		}
	})
}
