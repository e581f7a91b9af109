package publish

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestToken(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, want := range []token{{}, {1, 2, 3}, {0xffff, 0xffffff, 0xff}, {0, 0xdeadbe, 0x10}, {0x8000, 0, 0}, {0, 1, 0}, {0, 0, 1}} {
		text := string(appendToken(nil, want))
		if got, ok := parseToken(text); !ok || got != want || len(text) != tokenLen || seen[text] {
			t.Errorf("%+v -> %q -> %+v, %v", want, text, got, ok)
		}
		seen[text] = true
	}
	for c := range 256 {
		i := strings.IndexByte(tokenDigits, byte(c))
		if digit, ok := tokenDigit(byte(c)); ok != (i >= 0) || ok && digit != uint64(i) {
			t.Errorf("digit %#x is %d, %v", c, digit, ok)
		}
	}
	for _, bad := range []string{"", "0", "0000000", "000000000", "0000000.", "0000 000", "0000000\xff"} {
		if got, ok := parseToken(bad); ok {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}

func TestReadReply(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]reply{
		`{"stream":"EVENTS", "seq":12}`:                                                      {kind: replyStored, stream: []byte("EVENTS"), sequence: 12},
		`{"stream":"EVENTS","domain":"hub", "seq":1,"duplicate": true}`:                      {kind: replyStored, stream: []byte("EVENTS"), sequence: 1, duplicate: true},
		`{"stream":"EVENTS", "seq":4,"batch":"x","count":4}`:                                 {kind: replyStored, stream: []byte("EVENTS"), sequence: 4},
		`{"stream":"EVENTS","seq":18446744073709551615}`:                                     {kind: replyStored, stream: []byte("EVENTS"), sequence: 1<<64 - 1},
		"{ \"seq\" : 2,\n\t\"stream\" : \"E\\u0041\", \"new\": {\"a\": [1]}, \"val\":\"7\"}": {kind: replyStored, stream: []byte("EA"), sequence: 2},
		`{"stream":"EVENTS","seq":0}`:                                                        {kind: replyForeign},
		`{"seq":1}`:                                                                          {kind: replyForeign},
		`{"stream":"EVENTS","seq":-1}`:                                                       {kind: replyForeign},
		`"pong"`:                                                                             {kind: replyForeign},
		`ok`:                                                                                 {kind: replyForeign},
		`{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"EVENTS","seq":0}`:    {kind: replyRefused, err: ErrFull},
		`{"error":{"code":400,"err_code":10002,"description":"resource limits exceeded for account"},"stream":"E"}`:      {kind: replyRefused, err: ErrFull},
		`{"error":{"code":503,"err_code":10077,"description":"message size too large"},"stream":"EVENTS","seq":0}`:       {kind: replyRefused, err: ErrTooLarge},
		`{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}`:                   {kind: replyRefused, err: ErrTooLarge},
		`{"error":{"code":503,"err_code":10023,"description":"insufficient resources"}}`:                                 {kind: replyTransient, err: ErrFull},
		`{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`:               {kind: replyTransient},
		`{"error":{"code":429,"err_code":10167,"description":"too many requests"}}`:                                      {kind: replyTransient},
		`{"error":{"code":429,"err_code":10210,"description":"atomic publish too many inflight"}}`:                       {kind: replyTransient},
		`{"error":{"code":400,"err_code":10176,"description":"atomic publish batch is incomplete"}}`:                     {kind: replyTransient},
		`{"error":{"code":409,"err_code":10158,"description":"duplicate message id is in process"}}`:                     {kind: replyInProcess},
		`{"error":{"code":400,"err_code":10201,"description":"atomic publish batch contains duplicate message id"}}`:     {kind: replyKnownIDs},
		`{"error":{"code":400,"err_code":10174,"description":"atomic publish is disabled"},"stream":"EVENTS","seq":0}`:   {kind: replyRefused},
		`{"error":{"code":500,"err_code":10999,"description":"something that does not exist yet"},"stream":"E","seq":0}`: {kind: replyRefused},
	} {
		got := readReply(&nats.Msg{Data: []byte(text)})
		if got.kind != want.kind || string(got.stream) != string(want.stream) || got.sequence != want.sequence || got.duplicate != want.duplicate {
			t.Errorf("%s\nread as %+v, want %+v", text, got, want)
		}
		if want.err != nil && !errors.Is(got.err, want.err) {
			t.Errorf("%s: error %v, want %v", text, got.err, want.err)
		}
		var api *jetstream.APIError
		if strings.Contains(text, "err_code") && (!errors.As(got.err, &api) || !strings.Contains(got.reason, api.Description)) {
			t.Errorf("%s: error %v, reason %q", text, got.err, got.reason)
		}
	}
	for status, want := range map[string]replyKind{"": replyStaged, "503": replyTransient, "408": replyForeign} {
		m := &nats.Msg{}
		if status != "" {
			m.Header = nats.Header{"Status": {status}}
		}
		if got := readReply(m); got.kind != want {
			t.Errorf("status %q: %+v", status, got)
		}
	}
}

// FuzzScanAck compares the hand-written reader with encoding/json: what it
// accepts it must read the same.
func FuzzScanAck(f *testing.F) {
	for _, seed := range []string{
		`{"stream":"EVENTS", "seq":12}`,
		`{"stream":"EVENTS","domain":"hub", "seq":1,"duplicate": true}`,
		`{"stream":"EVENTS", "seq":4,"batch":"x","count":4}`,
		`{"stream":"a","stream":"b","seq":1,"seq":2}`,
		`{"seq":01,"stream":"a"}`,
		`{"stream":"a\n","seq":1}`,
		`{"stream":"a","seq":1,}`,
		`{"error":{"code":503}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, ok := scanAck(data)
		if !ok {
			return
		}
		var want jetstream.PubAck
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("%q was accepted: %v", data, err)
		}
		if string(r.stream) != want.Stream || r.sequence != want.Sequence || r.duplicate != want.Duplicate {
			t.Fatalf("%q read as %+v, want %+v", data, r, want)
		}
	})
}

func TestScanAckAllocatesNothing(t *testing.T) { //nolint:paralleltest // counts allocations
	data := []byte(`{"stream":"EVENTS", "seq":123456,"duplicate": true}`)
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := scanAck(data); !ok {
			t.Fatal("not read")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
