package service_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/service"
)

// hijackServer has two users: one runs services and may use JetStream, the
// other may do nothing but send calls and discovery requests.
func hijackServer(t *testing.T) (owner, attacker *nats.Conn) {
	t.Helper()
	srv := testserver.Start(t, testserver.Conf(`
		authorization { users: [
			{ user: owner, password: o }
			{ user: attacker, password: a, permissions: {
				publish: ["svc.x", "rpc.>", "$SRV.>"], subscribe: ["_INBOX.>"] } }
		] }`), testserver.Client(nats.UserInfo("owner", "o")))
	return srv.Connect(t), srv.Connect(t, nats.UserInfo("attacker", "a"))
}

func makeStream(t *testing.T, nc *nats.Conn, name, subject string) jetstream.Stream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{subject}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), subject, []byte("keep me")); err != nil {
		t.Fatal(err)
	}
	return s
}

// hijacks are reply subjects that hurt a service which answers them: an empty
// body or an empty object deletes a stream, any body forges a message.
func hijacks(stream, subject string) []string {
	return []string{
		"$JS.API.STREAM.DELETE." + stream,
		"$JS.API.STREAM.PURGE." + stream,
		subject,
		"_INBOX",          // the prefix alone is no inbox
		"_INBOXES.forged", // nor is what only begins like it
		"rpc.victim.erase",
	}
}

// The attack works against a service that answers where it is told to, with
// nothing or with `{}`, and so does micro's own discovery.
func TestReplyHijackWorksOnNaiveService(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "{}"} {
		t.Run(fmt.Sprintf("body=%q", body), func(t *testing.T) {
			t.Parallel()
			owner, attacker := hijackServer(t)
			s := makeStream(t, owner, "S", "orders")
			if _, err := owner.Subscribe("svc.x", func(m *nats.Msg) { _ = m.Respond([]byte(body)) }); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(owner.Flush(), attacker.PublishRequest("svc.x", "$JS.API.STREAM.DELETE.S", nil)); err != nil {
				t.Fatal(err)
			}
			testserver.Eventually(t, 5*time.Second, func() bool {
				_, err := s.Info(t.Context())
				return errors.Is(err, jetstream.ErrStreamNotFound)
			}, "the stream is deleted")
		})
	}
	t.Run("micro", func(t *testing.T) {
		t.Parallel()
		owner, attacker := hijackServer(t)
		s := makeStream(t, owner, "S", "orders")
		svc, err := micro.AddService(owner, micro.Config{Name: "naive", Version: "1.0.0"})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = svc.Stop() }()
		if err := errors.Join(owner.Flush(), attacker.PublishRequest("$SRV.PING", "orders", nil)); err != nil {
			t.Fatal(err)
		}
		testserver.Eventually(t, 5*time.Second, func() bool {
			info, err := s.Info(t.Context())
			return err == nil && info.State.Msgs == 2
		}, "a message is forged")
	})
}

func TestReplyHijackFailsOnService(t *testing.T) {
	t.Parallel()
	owner, attacker := hijackServer(t)
	s := makeStream(t, owner, "S", "orders")
	ran := make(chan struct{}, 100)
	svc := start(t, owner, service.Config{Name: "victim", Logger: quiet()},
		service.Handle("erase", func(context.Context, struct{}) (struct{}, error) {
			ran <- struct{}{}
			return struct{}{}, nil // encoded as {}
		}),
		service.Handle("null", func(context.Context, struct{}) (*quote, error) {
			ran <- struct{}{}
			return nil, nil
		}),
		service.Handle("fail", func(context.Context, struct{}) (int, error) {
			ran <- struct{}{}
			return 0, service.Errorf(service.CodeNotFound, "")
		}))
	asked := []string{
		"rpc.victim.erase", "rpc.victim.null", "rpc.victim.fail", "rpc.victim.erase." + svc.Instance(),
		"rpc.victim.fail.all", "$SRV.PING", "$SRV.INFO", "$SRV.STATS", "$SRV.PING.victim", "$SRV.STATS.victim." + svc.Instance(),
	}
	n := 0
	for _, subject := range asked {
		for _, reply := range hijacks("S", "orders") {
			if err := attacker.PublishRequest(subject, reply, nil); err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	// A cancel whose body is no inbox must not be kept either.
	if err := errors.Join(attacker.Publish("rpc.victim.cancel", []byte("$JS.API.STREAM.DELETE.S")), attacker.Flush()); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, 5*time.Second, func() bool { return svc.Status().RefusedReplies == int64(n) },
		"of %d, %d were refused", n, svc.Status().RefusedReplies)
	if len(ran) > 0 {
		t.Errorf("%d handlers ran", len(ran))
	}
	info, err := s.Info(t.Context())
	if err != nil || info.State.Msgs != 1 || info.State.LastSeq != 1 {
		t.Errorf("the stream: %+v, %v", info, err)
	}
	// The attacker may call like anybody else.
	if _, err := service.Call[struct{}](t.Context(), newClient(t, attacker, service.ClientConfig{}), "victim.erase", struct{}{}); err != nil {
		t.Error(err)
	}
}

func TestReplyPrefixes(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	for _, bad := range []string{"", "$JS.", "a b", "a.*", ">"} {
		if _, err := service.New(nc, service.Config{Name: "x", ReplyPrefixes: []string{bad}}); !errors.Is(err, service.ErrConfig) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	svc := start(t, nc, service.Config{Name: "x", ReplyPrefixes: []string{"mine."}, Logger: quiet()}, service.Handle("quote", price))
	other := srv.Connect(t, nats.CustomInboxPrefix("mine.inbox"))
	if _, err := service.Call[quote](t.Context(), newClient(t, other, service.ClientConfig{}), "x.quote", quoteRequest{SKU: "A"}); err != nil {
		t.Error(err)
	}
	cl := newClient(t, nc, service.ClientConfig{Timeout: 50 * time.Millisecond})
	if _, err := service.Call[quote](t.Context(), cl, "x.quote", quoteRequest{SKU: "A"}); service.CodeOf(err) != service.CodeDeadlineExceeded {
		t.Errorf("got %v", err)
	}
	if n := svc.Status().RefusedReplies; n != 1 {
		t.Errorf("%d refused", n)
	}
}

// With the permissions of docs/wire.md a caller and a service work, and a
// caller can neither listen to another's replies nor answer in a service's
// place.
func TestLeastPermissions(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Conf(`authorization { users: [
		{ user: billing, password: p, permissions: {
			publish: ["_INBOX.>"],
			subscribe: ["rpc.billing.>", "$SRV.*", "$SRV.*.billing", "$SRV.*.billing.*", "_INBOX.billing.>",
				"agner.read.billing.>", "agner.read.all.all.*"] } }
		{ user: web, password: p, permissions: { publish: ["rpc.billing.>", "$SRV.>"], subscribe: ["_INBOX.web.>"] } }
	] }`))
	var errs logged
	as := func(user string) *nats.Conn {
		return srv.Connect(t, nats.UserInfo(user, "p"), nats.CustomInboxPrefix("_INBOX."+user),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { fmt.Fprintln(&errs, user, err) }))
	}
	canceled := make(chan struct{})
	svc := start(t, as("billing"), service.Config{Name: "billing", Logger: quiet(), Presence: service.PresenceConfig{Off: true}}, service.Handle("quote", price),
		service.Handle("wait", func(ctx context.Context, _ struct{}) (int, error) {
			<-ctx.Done()
			close(canceled)
			return 0, ctx.Err()
		}))
	web := as("web")
	cl := newClient(t, web, service.ClientConfig{})
	if _, err := service.Call[quote](t.Context(), cl, "billing.quote", quoteRequest{SKU: "A"}, service.ToInstance(svc.Instance())); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := service.Call[int](ctx, cl, "billing.wait", struct{}{}); service.CodeOf(err) != service.CodeDeadlineExceeded {
		t.Error(err)
	}
	<-canceled
	if ping := ask[micro.Ping](t, web, micro.PingVerb, "billing", svc.Instance()); ping.ID != svc.Instance() {
		t.Errorf("ping %+v", ping)
	}
	if text := errs.String(); text != "" {
		t.Errorf("refused: %s", text)
	}
	for _, subject := range []string{"_INBOX.>", "_INBOX.billing.>", "rpc.billing.quote"} {
		if _, err := web.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(web.Publish("_INBOX.billing.x", nil), web.Flush()); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, 5*time.Second, func() bool { return strings.Count(errs.String(), "web nats: permissions violation") == 4 },
		"four times refused")
}
