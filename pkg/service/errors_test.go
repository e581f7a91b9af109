package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

func TestCodesHaveNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for c := service.CodeCanceled; c <= service.CodeUnavailable; c++ {
		text, err := json.Marshal(c)
		var back service.Code
		if err != nil || json.Unmarshal(text, &back) != nil || back != c {
			t.Errorf("%v became %s and %v", c, text, back)
		}
		if seen[c.String()] || strings.HasPrefix(c.String(), "code(") {
			t.Errorf("%v has no name of its own", c)
		}
		seen[c.String()] = true
	}
	var c service.Code
	if err := c.UnmarshalText([]byte("teapot")); !errors.Is(err, service.ErrCode) {
		t.Errorf("got %v", err)
	}
}

func TestErrorf(t *testing.T) {
	t.Parallel()
	err := error(service.Errorf(service.CodeNotFound, "sku %s: %w", "A1", io.EOF))
	if !errors.Is(err, io.EOF) || service.IsRemote(err) || err.Error() != "not_found: sku A1: EOF" {
		t.Errorf("got %v", err)
	}
	both := service.Errorf(service.CodeAborted, "%w, %w", io.EOF, io.ErrShortWrite)
	if !errors.Is(both, io.EOF) || !errors.Is(both, io.ErrShortWrite) {
		t.Error("one of two causes is lost")
	}
	if c := service.Errorf(0, "x").Code; c != service.CodeInternal {
		t.Errorf("code 0 became %v", c)
	}
}

func TestCodeOf(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want service.Code
	}{
		{nil, 0},
		{io.EOF, service.CodeInternal},
		{context.Canceled, service.CodeCanceled},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), service.CodeDeadlineExceeded},
		{fmt.Errorf("x: %w", service.Errorf(service.CodeNotFound, "y")), service.CodeNotFound},
	} {
		if got := service.CodeOf(tc.err); got != tc.want {
			t.Errorf("CodeOf(%v) = %v, want %v", tc.err, got, tc.want)
		}
	}
}

// Every code reaches the caller as it is, with number and text where micro's
// tools look for them.
func TestErrorsOnTheWire(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	fail := func(_ context.Context, c service.Code) (string, error) {
		return "", fmt.Errorf("wrapped: %w", service.Errorf(c, "because of\r\nNats-Rollup: all"))
	}
	svc := start(t, nc, service.Config{Name: "billing", Logger: quiet()}, service.Handle("fail", fail))
	cl := newClient(t, nc, service.ClientConfig{})
	numbers := map[service.Code]string{service.CodeNotFound: "404", service.CodeUnavailable: "503", service.CodeInternal: "500"}
	for c := service.CodeCanceled; c <= service.CodeUnavailable; c++ {
		_, err := service.Call[string](t.Context(), cl, "billing.fail", c)
		var e *service.Error
		if !errors.As(err, &e) || e.Code != c || !service.IsRemote(err) || e.Target != "billing.fail" || e.Instance != svc.Instance() {
			t.Fatalf("%v came as %+v", c, err)
		}
		if e.Message != "because of  Nats-Rollup: all" {
			t.Errorf("text %q", e.Message)
		}
		body, _ := json.Marshal(c)
		m, err := nc.RequestWithContext(t.Context(), "rpc.billing.fail", body)
		if err != nil {
			t.Fatal(err)
		}
		if want := numbers[c]; want != "" && m.Header.Get("Nats-Service-Error-Code") != want {
			t.Errorf("%v has number %q", c, m.Header.Get("Nats-Service-Error-Code"))
		}
		if m.Header.Get("Nats-Service-Error") == "" || m.Header.Get("Nats-Rollup") != "" || !json.Valid(m.Data) {
			t.Errorf("%v: %v %q", c, m.Header, m.Data)
		}
	}
}

// A caller can talk to what others serve, who send numbers only and may answer
// with nothing.
func TestForeignReplies(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	replies := map[string]*nats.Msg{
		"rpc.other.empty":   {},
		"rpc.other.headers": {Header: nats.Header{"X": {"y"}}, Data: []byte(`"ok"`)},
		"rpc.other.n404":    {Header: nats.Header{"Nats-Service-Error-Code": {"404"}, "Nats-Service-Error": {"gone"}}},
		"rpc.other.n418":    {Header: nats.Header{"Nats-Service-Error-Code": {"418"}}},
		"rpc.other.n408":    {Header: nats.Header{"Nats-Service-Error-Code": {"408"}}},
		"rpc.other.word":    {Header: nats.Header{"Nats-Service-Error-Code": {"BAD"}}},
		"rpc.other.text":    {Header: nats.Header{"Nats-Service-Error": {"only text"}}},
		"rpc.other.badjson": {Data: []byte(`{`)},
		"rpc.other.badbody": {Header: nats.Header{"Agner-Error-Code": {"aborted"}, "Nats-Service-Error": {"t"}}, Data: []byte(`{`)},
	}
	if _, err := nc.Subscribe("rpc.other.*", func(m *nats.Msg) {
		if err := m.RespondMsg(replies[m.Subject]); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	cl := newClient(t, nc, service.ClientConfig{})
	for _, tc := range []struct {
		endpoint, text string
		code           service.Code
		remote         bool
	}{
		{"empty", "", 0, false},
		{"headers", "", 0, false},
		{"n404", "gone", service.CodeNotFound, true},
		{"n418", "", service.CodeInvalidArgument, true},
		{"n408", "", service.CodeDeadlineExceeded, true},
		{"word", "", service.CodeInternal, true},
		{"text", "only text", service.CodeInternal, true},
		{"badjson", "decode", service.CodeInternal, false},
		{"badbody", "t", service.CodeAborted, true},
	} {
		_, err := service.Call[string](t.Context(), cl, "other."+tc.endpoint, nil)
		if service.CodeOf(err) != tc.code || service.IsRemote(err) != tc.remote ||
			err != nil && !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v", tc.endpoint, err)
		}
	}
}
