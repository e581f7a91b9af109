package test_test

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
	"github.com/agner-go/agner/pkg/service"
)

// exchanged is how many events go each way.
const exchanged = 20

// publishOrders publishes for a foreign program to handle.
func (s *shop) publishOrders(t *testing.T) {
	t.Helper()
	for i := range exchanged {
		o := orderPlaced{OrderID: "agner-" + strconv.Itoa(i), Cents: int64(i)}
		_, err := s.publisher.Publish(t.Context(), o,
			publish.WithID("a-"+strconv.Itoa(i)), publish.WithExtension("weight", strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestForeignProgramsImportNothingOfAgner(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cncf", "./plain").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.SplitSeq(string(out), "\n") {
		if strings.HasPrefix(pkg, "github.com/agner-go/agner/") && !strings.HasPrefix(pkg, "github.com/agner-go/agner/test/") {
			t.Errorf("they import %s", pkg)
		}
	}
}

func TestCNCFProgram(t *testing.T) {
	bin := build(t, "./cncf")
	s := openShop(t)
	s.publishOrders(t)

	t.Run("handles events of Agner", func(t *testing.T) {
		p := start(t, bin, "handle", s.url, strconv.Itoa(exchanged))
		for i := range exchanged {
			var e event.Event
			p.line(t, &e)
			raw, err := envelope.FromSDK(e)
			if err != nil {
				t.Fatal(err)
			}
			got := portraitOf(&raw)
			if got.attributes["time"] == "" {
				t.Error("no time")
			}
			delete(got.attributes, "time")
			n := strconv.Itoa(i)
			compare(t, got, portrait{
				attributes: map[string]string{
					"id": "a-" + n, "source": "/shop", "type": "shop.order.placed.v1", "datacontenttype": "application/json",
					"partitionkey": "agner-" + n, "weight": n,
				},
				data: `{"order_id":"agner-` + n + `","cents":` + n + `}`,
			})
		}
		p.end(t)
	})

	t.Run("publishes events to Agner", func(t *testing.T) {
		output(t, bin, "publish", s.url, strconv.Itoa(exchanged))
		handled := s.waitHandled(t, 2*exchanged) // its own too
		for i := range exchanged {
			n := strconv.Itoa(i)
			e := handled["cncf/"+n]
			if e.Source != "https://example.com/cncf" || e.Key != "cncf-"+n || e.Data != (orderPlaced{"cncf-" + n, int64(i)}) {
				t.Errorf("event %d arrived as %+v", i, e)
			}
		}
	})
}

func TestPlainProgram(t *testing.T) {
	bin := build(t, "./plain")
	s := openShop(t)
	s.publishOrders(t)

	t.Run("handles events of Agner", func(t *testing.T) {
		p := start(t, bin, "handle", s.url, strconv.Itoa(exchanged))
		for i := range exchanged {
			var got struct {
				Subject string              `json:"subject"`
				Header  map[string][]string `json:"header"`
				Order   orderPlaced         `json:"order"`
			}
			p.line(t, &got)
			n := strconv.Itoa(i)
			if got.Subject != "events.shop.order.placed.v1.agner-"+n || got.Order != (orderPlaced{"agner-" + n, int64(i)}) {
				t.Errorf("event %d arrived as %+v", i, got)
			}
			for name, want := range map[string]string{
				"ce-specversion": "1.0", "ce-id": "a-" + n, "ce-source": "/shop", "ce-type": "shop.order.placed.v1",
				"ce-datacontenttype": "application/json", "ce-partitionkey": "agner-" + n, "ce-weight": n,
				"Nats-Msg-Id": envelope.MessageID("/shop", "a-"+n),
			} {
				if v := got.Header[name]; len(v) != 1 || v[0] != want {
					t.Errorf("event %d has %s %q, want %q", i, name, v, want)
				}
			}
		}
		p.end(t)
	})

	t.Run("publishes events to Agner", func(t *testing.T) {
		output(t, bin, "publish", s.url, strconv.Itoa(exchanged))
		handled := s.waitHandled(t, 2*exchanged) // its own too
		for i := range exchanged {
			n := strconv.Itoa(i)
			e := handled["plain "+n]
			if e.Source != "/plain" || e.Key != "plain-"+n || e.Time.IsZero() || e.Data != (orderPlaced{"plain-" + n, int64(i)}) {
				t.Errorf("event %d arrived as %+v", i, e)
			}
		}
	})

	t.Run("calls Agner", func(t *testing.T) {
		for _, c := range []struct {
			name, request          string
			body                   quote
			code, errorName, words string
		}{
			{name: "quote", request: `{"sku":"A1"}`, body: quote{200}},
			{name: "handler's error", request: `{}`, code: "400", errorName: "invalid_argument", words: "sku is missing"},
			{name: "internal error", request: `{"sku":"burnt"}`, code: "500", errorName: "internal"},
		} {
			t.Run(c.name, func(t *testing.T) {
				var got struct {
					Body        json.RawMessage
					Code, Error string
					ErrorName   string `json:"error_name"`
				}
				out := output(t, bin, "call", s.url, "billing.quote", c.request, "5000")
				if err := json.Unmarshal([]byte(out), &got); err != nil {
					t.Fatal(err)
				}
				if got.Code != c.code || got.ErrorName != c.errorName || !strings.Contains(got.Error, c.words) {
					t.Errorf("got %+v, want %+v", got, c)
				}
				if strings.Contains(out, "42") {
					t.Errorf("an internal error's text has crossed the wire: %s", out)
				}
				if c.code == "" {
					var q quote
					if err := json.Unmarshal(got.Body, &q); err != nil || q != c.body {
						t.Errorf("body is %s, want %+v: %v", got.Body, c.body, err)
					}
				}
			})
		}
	})

	t.Run("its deadline and its cancel reach the handler", func(t *testing.T) {
		for _, c := range []struct {
			args            []string
			code, errorName string
			ended           error
		}{
			{[]string{"call", s.url, "billing.slow", `{}`, "150"}, "504", "deadline_exceeded", context.DeadlineExceeded},
			{[]string{"cancel", s.url, "billing.slow", `{}`}, "499", "canceled", context.Canceled},
		} {
			var got struct {
				Code      string
				ErrorName string `json:"error_name"`
			}
			decode(t, output(t, bin, c.args...), &got)
			if got.Code != c.code || got.ErrorName != c.errorName {
				t.Errorf("%s: got %+v", c.args[0], got)
			}
			if err := <-s.ended; !errors.Is(err, c.ended) {
				t.Errorf("%s: the handler's context ended with %v", c.args[0], err)
			}
		}
	})

	t.Run("gathers from all instances", func(t *testing.T) {
		var got struct {
			Body     quote
			Instance string
		}
		decode(t, output(t, bin, "gather", s.url, "billing.quote", `{"sku":"A1"}`, "1"), &got)
		if got.Instance != "b1" || got.Body.Cents != 200 {
			t.Errorf("got %+v", got)
		}
	})

	t.Run("is called by Agner", func(t *testing.T) {
		p := start(t, bin, "serve", s.url)
		var ready struct{ Ready bool }
		p.line(t, &ready)
		type greeting struct{ Text, Timeout string }
		got, err := service.Call[greeting](t.Context(), s.service.Client(), "greeter.hello", map[string]string{"name": "Ann"})
		if err != nil || got.Text != "hello Ann" {
			t.Errorf("got %+v, %v", got, err)
		}
		if ms, err := strconv.Atoi(got.Timeout); err != nil || ms < 1 || ms > 5000 {
			t.Errorf("the timeout was %q, want up to the default of 5 s", got.Timeout)
		}
		_, err = service.Call[greeting](t.Context(), s.service.Client(), "greeter.fail", struct{}{})
		if service.CodeOf(err) != service.CodeNotFound || !service.IsRemote(err) {
			t.Errorf("the error is %v", err)
		}
		p.end(t)
		_, err = service.Call[greeting](t.Context(), s.service.Client(), "greeter.hello", struct{}{})
		if service.CodeOf(err) != service.CodeUnavailable {
			t.Errorf("with nobody there the error is %v", err)
		}
	})
}
