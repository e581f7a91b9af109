package service

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// FuzzReplySubject: what passes the guard is an inbox, and its timeout, if it
// reads as one, is one.
func FuzzReplySubject(f *testing.F) {
	for _, s := range []string{"_INBOX.a.b~5000", "_INBOX_x.y", "$JS.API.STREAM.DELETE.S", "_INBOX", "_INBOX.>", "_INBOX.~", "_INBOX.a~99999999999999999999", ""} {
		f.Add(s, "5000")
	}
	guard, err := newReplyGuard(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, reply, header string) {
		if guard.allows(reply) && (!strings.HasPrefix(reply, "_INBOX") || strings.ContainsAny(reply, "*>") || len(reply) > maxReply) {
			t.Fatalf("%q passes", reply)
		}
		for _, h := range []nats.Header{nil, {HeaderTimeout: {header}}} {
			d, err := grantedTime(&nats.Msg{Reply: reply, Header: h})
			if err != nil && h == nil || d < 0 || d > maxTimeout {
				t.Fatalf("%q, %q: %v, %v", reply, header, d, err)
			}
		}
	})
}

// FuzzTarget: what is accepted gives one legal subject that is not reserved.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"billing.quote", "a.all", "a.cancel", "a.b.c", ".", "", "a.*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		service, endpoint, err := parseTarget(target)
		if err != nil {
			if !errors.Is(err, ErrTarget) {
				t.Fatalf("%q: %v", target, err)
			}
			return
		}
		subject := address{service: service}.any(endpoint)
		if subject != "rpc."+target || strings.Count(subject, ".") != 2 || strings.ContainsAny(subject, "*> \t\r\n$") || endpoint == instanceAll || endpoint == cancelToken {
			t.Fatalf("%q gives %q", target, subject)
		}
	})
}

// FuzzReply: any reply is a result or a typed error.
func FuzzReply(f *testing.F) {
	f.Add("not_found", "404", "gone", []byte(`{"code":"not_found","message":"gone"}`))
	f.Add("", "", "", []byte(nil))
	f.Add("x", "", "\xff", []byte(`{"message":1}`))
	c := &Client{}
	f.Fuzz(func(t *testing.T, name, number, text string, data []byte) {
		h := nats.Header{}
		for k, v := range map[string]string{HeaderErrorCode: name, headerServiceErrorCode: number, headerServiceError: text} {
			if v != "" {
				h[k] = []string{v}
			}
		}
		got, err := c.result(&Request{Service: "a", Endpoint: "b"}, &nats.Msg{Header: h, Data: data})
		var e *Error
		switch {
		case len(h) == 0 && (err != nil || string(got) != string(data)):
			t.Fatalf("a result became %v", err)
		case len(h) > 0 && (!errors.As(err, &e) || e.Code < CodeCanceled || e.Code > CodeUnavailable || !IsRemote(err)):
			t.Fatalf("an error became %v", err)
		}
	})
}

// FuzzErrorText: any text of a handler makes a reply that JSON and headers hold.
func FuzzErrorText(f *testing.F) {
	f.Add("a\r\nb\x00\xff", uint8(4))
	f.Fuzz(func(t *testing.T, text string, c uint8) {
		m, err := errorReply("_INBOX.x", "i", Errorf(Code(c), "%s", text))
		if err != nil || len(m.Data) == 0 || !json.Valid(m.Data) {
			t.Fatalf("%v, %q", err, m.Data)
		}
		if v := m.Header[headerServiceError][0]; strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(v) > maxErrorHeader {
			t.Fatalf("header %q", v)
		}
	})
}

// FuzzAnsweredBy: whatever a reply gives as its instance, what is remembered of
// it is one token of a subject, and not a reserved one.
func FuzzAnsweredBy(f *testing.F) {
	for _, s := range []string{"b1", "*", "a.b", "all", "cancel", "a b", "x\r\nPUB y 0", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		var a Affinity
		r := Request{Service: "a", Endpoint: "b", same: &a}
		if _, err := (&Client{}).result(&r, &nats.Msg{Header: nats.Header{HeaderInstance: {name}}, Data: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		got := a.Instance()
		if got == "" {
			return
		}
		if got != name || got == instanceAll || got == cancelToken || strings.ContainsFunc(got, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-'
		}) {
			t.Fatalf("%q is remembered as %q", name, got)
		}
	})
}
