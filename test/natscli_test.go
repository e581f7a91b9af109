package test_test

import (
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/micro"

	"github.com/agner-go/agner/pkg/service"
)

// natsCLI compiles the nats command line at its pinned version, once for each
// machine, and returns its path.
func natsCLI(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), compileTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "tool", "-modfile=natscli/go.mod", "-n", "nats")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build the nats command line: %v", err)
	}
	return strings.TrimSpace(string(out))
}

func TestNATSCommandLine(t *testing.T) {
	bin := natsCLI(t)
	s := openShop(t)
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		return output(t, bin, append([]string{"--server", s.url}, args...)...)
	}

	t.Run("service ls", func(t *testing.T) {
		if out := run(t, "service", "ls", "--timeout", "1s"); !strings.Contains(out, "billing") || !strings.Contains(out, "1.2.0") {
			t.Errorf("it printed %s", out)
		}
	})
	t.Run("service info", func(t *testing.T) {
		var got struct{ Info micro.Info }
		decode(t, run(t, "service", "info", "billing", "b1", "--json"), &got)
		info := got.Info
		if info.Name != "billing" || info.ID != "b1" || info.Version != "1.2.0" || info.Description != "sends bills" {
			t.Errorf("it printed %+v", info)
		}
		if len(info.Endpoints) != 2 || info.Endpoints[0].Subject != "rpc.billing.quote" || info.Endpoints[0].Metadata["agner.idempotent"] != "true" {
			t.Errorf("it printed endpoints %+v", info.Endpoints)
		}
	})
	t.Run("service ping", func(t *testing.T) {
		if out := run(t, "service", "ping", "billing", "--timeout", "1s"); !strings.Contains(out, "b1") {
			t.Errorf("it printed %s", out)
		}
	})
	t.Run("request", func(t *testing.T) {
		out := run(t, "request", "rpc.billing.quote", `{"sku":"A1"}`, "--raw")
		if strings.TrimSpace(out) != `{"cents":200}` {
			t.Errorf("it printed %s", out)
		}
	})
	t.Run("request of all instances", func(t *testing.T) {
		out := run(t, "request", "rpc.billing.quote.all", `{"sku":"A1"}`, "--replies", "1", "--raw")
		if strings.TrimSpace(out) != `{"cents":200}` {
			t.Errorf("it printed %s", out)
		}
	})
	t.Run("service request", func(t *testing.T) {
		out := run(t, "service", "request", "billing", "quote", `{"sku":"A1"}`, "--raw")
		if !strings.Contains(out, `{"cents":200}`) {
			t.Errorf("it printed %s", out)
		}
	})
	t.Run("service stats", func(t *testing.T) {
		_, err := service.Call[quote](t.Context(), s.service.Client(), "billing.quote", quoteRequest{})
		if service.CodeOf(err) != service.CodeInvalidArgument {
			t.Fatal(err)
		}
		var all []micro.Stats
		decode(t, run(t, "service", "stats", "billing", "b1", "--json"), &all)
		if len(all) != 1 || len(all[0].Endpoints) != 2 {
			t.Fatalf("it printed %+v", all)
		}
		ep := all[0].Endpoints[0]
		if ep.NumRequests != 4 || ep.NumErrors != 1 || ep.ProcessingTime <= 0 || !strings.Contains(ep.LastError, "sku is missing") {
			t.Errorf("after three good calls and a bad one it printed %+v", ep)
		}
	})
	t.Run("pub", func(t *testing.T) {
		run(t, "pub", "events.shop.order.placed.v1.o-9", `{"order_id":"o-9","cents":9}`,
			"-H", "ce-specversion:1.0", "-H", "ce-id:by-hand", "-H", "ce-source:/terminal",
			"-H", "ce-type:shop.order.placed.v1", "-H", "ce-datacontenttype:application/json")
		if e := s.waitHandled(t, 1)["by-hand"]; e.Data != (orderPlaced{"o-9", 9}) || e.Source != "/terminal" {
			t.Errorf("it arrived as %+v", e)
		}
	})
}

func decode(t *testing.T, out string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), v); err != nil {
		t.Fatalf("it printed %s: %v", out, err)
	}
}
