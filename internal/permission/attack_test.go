package permission_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/service"
)

// Each attack is made twice: on a naive service with the permissions that
// people write, where it must succeed, or the test proves nothing; and on ours
// with those that Agner ships.

// naive is a server whose users may do what their work seems to need: a service
// everything, a caller its requests and their replies.
func naive(t *testing.T) *place {
	t.Helper()
	p := &place{Server: testserver.Start(t, testserver.Conf(`authorization: { users: [
		{ user: root, password: p }
		{ user: billing, password: p }
		{ user: web, password: p, permissions: { publish: ["rpc.>"], subscribe: ["_INBOX.>"] } }
		{ user: rival, password: p, permissions: { publish: ["rpc.>", "$JS.ACK.>"], subscribe: ["_INBOX.>"] } }
	] }`), testserver.Client(nats.UserInfo("root", "p")))}
	p.root = p.JetStream(t)
	return p
}

// answering runs a naive service: it answers where it is told to, as micro does.
func (p *place) answering(t *testing.T, body string) {
	t.Helper()
	nc := p.as(t, "billing")
	if _, err := nc.Subscribe("rpc.billing.quote", func(m *nats.Msg) { _ = m.Respond([]byte(body)) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// store makes a work queue with one message and one durable, as root.
func (p *place) store(t *testing.T) (jetstream.Stream, jetstream.Consumer) {
	t.Helper()
	s, err := p.root.CreateStream(t.Context(), jetstream.StreamConfig{Name: "JOBS", Subjects: []string{"jobs.*"}, Retention: jetstream.WorkQueuePolicy})
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "work", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.root.Publish(t.Context(), "jobs.1", []byte("pay")); err != nil {
		t.Fatal(err)
	}
	return s, d
}

// hijack sends a request whose reply would go to a subject.
func (p *place) hijack(t *testing.T, reply string) {
	t.Helper()
	nc := p.as(t, "rival")
	if err := errors.Join(nc.PublishRequest("rpc.billing.quote", reply, nil), nc.Flush()); err != nil {
		t.Fatal(err)
	}
}

func TestReplyHijack(t *testing.T) {
	t.Parallel()
	t.Run("naive", func(t *testing.T) {
		t.Parallel()
		p := naive(t)
		p.answering(t, "")
		s, _ := p.store(t)
		p.hijack(t, "$JS.API.STREAM.DELETE.JOBS")
		testserver.Eventually(t, 5*time.Second, func() bool {
			_, err := s.Info(t.Context())
			return errors.Is(err, jetstream.ErrStreamNotFound)
		}, "the stream is deleted")
	})
	t.Run("shipped", func(t *testing.T) {
		t.Parallel()
		p := open(t, "")
		p.deploy(t)
		s, _ := p.store(t)
		svc := p.serve(t, "whole", false)
		replies := []string{"$JS.API.STREAM.DELETE.JOBS", "$JS.API.STREAM.PURGE.EVENTS", "jobs.1", "agner.admin.billing.whole-1.drain"}
		for _, reply := range replies {
			p.hijack(t, reply)
		}
		testserver.Eventually(t, 5*time.Second, func() bool { return svc.Status().RefusedReplies == int64(len(replies)) }, "dropped")
		unharmed(t, s)
	})
	// And if the library's own guard did not exist: the server holds a naive
	// service with our permissions.
	t.Run("permissions alone", func(t *testing.T) {
		t.Parallel()
		p := open(t, "")
		p.answering(t, "")
		s, _ := p.store(t)
		p.hijack(t, "$JS.API.STREAM.DELETE.JOBS")
		testserver.Eventually(t, 5*time.Second, func() bool { return p.knows("billing", "pub", "$JS.API.STREAM.DELETE.JOBS") }, "refused")
		unharmed(t, s)
	})
}

func unharmed(t *testing.T, s jetstream.Stream) {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil || info.State.Msgs != 1 || info.State.LastSeq != 1 {
		t.Errorf("the stream: %+v, %v", info, err)
	}
}

func TestInboxSnooping(t *testing.T) {
	t.Parallel()
	t.Run("naive", func(t *testing.T) {
		t.Parallel()
		p := naive(t)
		p.answering(t, "the price is secret")
		rival := p.Connect(t, nats.UserInfo("rival", "p"))
		spy, err := rival.SubscribeSync("_INBOX.>")
		if err == nil {
			err = rival.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		web := p.Connect(t, nats.UserInfo("web", "p")) // the inbox that nats.go takes
		if _, err := web.RequestWithContext(t.Context(), "rpc.billing.quote", nil); err != nil {
			t.Fatal(err)
		}
		if m, err := spy.NextMsg(5 * time.Second); err != nil || string(m.Data) != "the price is secret" {
			t.Errorf("nothing overheard: %v", err)
		}
	})
	t.Run("shipped", func(t *testing.T) {
		t.Parallel()
		p := open(t, "")
		p.serve(t, "billing", false)
		rival := p.as(t, "rival")
		heard := make(chan *nats.Msg, 10)
		tries := []string{"_INBOX.>", "_INBOX.*.>", "_INBOX.web.>", "_INBOX.web.*.*", ">"}
		for _, subject := range tries {
			if _, err := rival.ChanSubscribe(subject, heard); err != nil {
				t.Fatal(err)
			}
		}
		if err := rival.Flush(); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if _, err := service.Call[quote](t.Context(), p.client(t, "web"), "billing.quote", struct{}{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, subject := range tries {
			testserver.Eventually(t, 5*time.Second, func() bool { return p.knows("rival", "sub", subject) }, "refused %s", subject)
		}
		if err := rival.Flush(); err != nil {
			t.Fatal(err)
		}
		if len(heard) > 0 {
			t.Errorf("%d replies were overheard", len(heard))
		}
	})
}

// TestForgedAck takes an event from the group that works on it, by a message to
// its acknowledgement subject.
func TestForgedAck(t *testing.T) {
	t.Parallel()
	t.Run("naive", func(t *testing.T) {
		t.Parallel()
		p := naive(t)
		s, d := p.store(t)
		m, err := d.Next()
		if err != nil {
			t.Fatal(err)
		}
		p.forge(t, m.Reply())
		testserver.Eventually(t, 5*time.Second, func() bool {
			info, err := s.Info(t.Context())
			return err == nil && info.State.Msgs == 0
		}, "the job is lost, and its worker has not done it")
	})
	t.Run("shipped", func(t *testing.T) {
		t.Parallel()
		p := open(t, "")
		p.deploy(t)
		testForgedAck(t, p)
	})
	// A service that answers where it is told to could be made to acknowledge.
	// That one the server refuses by itself, since 2.15 at the latest.
	t.Run("as a reply", func(t *testing.T) {
		t.Parallel()
		p := naive(t)
		p.answering(t, "+ACK")
		s, d := p.store(t)
		m, err := d.Next()
		if err != nil {
			t.Fatal(err)
		}
		p.hijack(t, m.Reply())
		testserver.Eventually(t, 5*time.Second, func() bool {
			return slices.ContainsFunc(p.refused(), func(r string) bool { return strings.Contains(r, "Publish with Reply of") })
		}, "refused")
		unharmed(t, s)
	})
}

// forge publishes an acknowledgement as somebody who may not.
func (p *place) forge(t *testing.T, ack string) {
	t.Helper()
	nc := p.as(t, "rival")
	if err := errors.Join(nc.Publish(ack, []byte("+ACK")), nc.Flush()); err != nil {
		t.Fatal(err)
	}
}

// testForgedAck forges the acknowledgement of an event whose handler runs, and
// must leave it with that.
func testForgedAck(t *testing.T, p *place) {
	t.Helper()
	began, leave := make(chan string, 10), make(chan struct{})
	c, err := consume.New(p.jetStream(t, "member"), consume.Config{Group: "billing", Provision: new(true), Logger: quiet()},
		consume.On(func(ctx context.Context, e envelope.Event[orderPlaced]) error {
			began <- e.Data.OrderID
			select {
			case <-leave:
			case <-ctx.Done():
			}
			return nil
		}, consume.WithName("charge")))
	if err != nil {
		t.Fatal(err)
	}
	run(t, c.Run)
	ack, err := p.publisher(t).Publish(t.Context(), orderPlaced{OrderID: "o-1"})
	if err != nil {
		t.Fatal(err)
	}
	<-began
	d, err := p.root.Consumer(t.Context(), "EVENTS", "billing_charge")
	if err != nil {
		t.Fatal(err)
	}
	// The server looks at durable and sequences only.
	p.forge(t, "$JS.ACK.EVENTS.billing_charge.1.1.1.0.0")
	info, err := d.Info(t.Context())
	if err != nil || info.NumAckPending != 1 || info.AckFloor.Stream >= ack.Sequence {
		t.Errorf("the event was taken from its handler: %+v, %v", info, err)
	}
	// Who may do everything can: it is the permissions that refused it.
	if err := p.root.Conn().Publish("$JS.ACK.EVENTS.billing_charge.1.1.1.0.0", []byte("+ACK")); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, 5*time.Second, func() bool {
		info, err := d.Info(t.Context())
		return err == nil && info.NumAckPending == 0
	}, "the same by root counts")
	close(leave)
}
