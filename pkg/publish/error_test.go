package publish_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

// failure is what one way to fail must look like.
type failure struct {
	kind   error
	causes []error
	text   string // part of the message
	within time.Duration
}

func (want failure) check(t *testing.T, err error, took time.Duration) {
	t.Helper()
	var e *publish.Error
	if !errors.As(err, &e) {
		t.Fatalf("not an *Error: %v", err)
	}
	for _, kind := range []error{publish.ErrRejected, publish.ErrNotSent, publish.ErrUnknown} {
		if errors.Is(err, kind) != (kind == want.kind) { //nolint:errorlint // identity of the sentinels
			t.Errorf("kind of %q: want %q", err, want.kind)
		}
	}
	for _, cause := range want.causes {
		if !errors.Is(err, cause) {
			t.Errorf("%q does not match %q", err, cause)
		}
	}
	if !strings.Contains(err.Error(), want.text) {
		t.Errorf("%q does not say %q", err, want.text)
	}
	if e.ID == "" && want.kind != publish.ErrNotSent { //nolint:errorlint // identity
		t.Errorf("%q names no event", err)
	}
	if strings.ContainsAny(err.Error(), "\n\r") {
		t.Errorf("%q has line breaks", err)
	}
	if want.within > 0 && took > want.within {
		t.Errorf("%q took %v, want at most %v", err, took, want.within)
	}
}

// publishOnce publishes with a deadline and says how long it took.
func publishOnce(t *testing.T, pub *publish.Publisher, payload envelope.Payload, timeout time.Duration) (took time.Duration, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	start := time.Now()
	_, err = pub.Publish(ctx, payload)
	return time.Since(start), err
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect("nats://127.0.0.1:9", nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	pub := newPublisher(t, js, publish.Config{})
	took, err := publishOnce(t, pub, tick{N: 1}, 200*time.Millisecond)
	failure{publish.ErrNotSent, []error{nats.ErrDisconnected, context.DeadlineExceeded}, "RECONNECTING", 5 * time.Second}.check(t, err, took)
}

func TestServerGone(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	pub := newPublisher(t, srv.JetStream(t), publish.Config{})
	if _, err := pub.Publish(t.Context(), tick{N: 1}); err != nil {
		t.Fatal(err)
	}
	srv.Shutdown()
	took, err := publishOnce(t, pub, tick{N: 2}, 200*time.Millisecond)
	failure{publish.ErrNotSent, []error{nats.ErrDisconnected, context.DeadlineExceeded}, "deadline", 5 * time.Second}.check(t, err, took)
	srv.Restart(t)
	if ack, err := pub.Publish(t.Context(), tick{N: 3}); err != nil || ack.Sequence != 2 {
		t.Errorf("after the restart: %+v, %v: what was not sent must not be stored", ack, err)
	}
}

func TestNoStream(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	pub := newPublisher(t, srv.JetStream(t), publish.Config{Provision: new(false), RetryFor: 300 * time.Millisecond})
	start := time.Now()
	_, err := pub.Publish(t.Context(), tick{N: 1})
	failure{publish.ErrRejected, []error{publish.ErrNoStream, context.DeadlineExceeded}, "within 300ms (RetryFor)", 5 * time.Second}.check(t, err, time.Since(start))
	// One that comes in time is found.
	patient, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	f := pub.PublishAsync(patient, tick{N: 2})
	createStreams(t, srv.JetStream(t))
	if _, err := f.Wait(t.Context()); err != nil {
		t.Errorf("the stream came while it was retried: %v", err)
	}
}

// TestStreamDeleted loses the stream under a publisher: what it publishes then
// is refused, and the next publish makes the stream again.
func TestStreamDeleted(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	js := srv.JetStream(t)
	pub := newPublisher(t, srv.JetStream(t), publish.Config{RetryFor: 200 * time.Millisecond})
	patient, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := pub.Publish(patient, tick{N: 1}); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	_, err := pub.Publish(t.Context(), tick{N: 2})
	failure{publish.ErrRejected, []error{publish.ErrNoStream}, "no stream listens", 0}.check(t, err, 0)
	if ack, err := pub.Publish(patient, tick{N: 3}); err != nil || ack.Sequence != 1 {
		t.Errorf("afterwards: %+v, %v", ack, err)
	}
}

func TestNoJetStream(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Conf(`accounts { A { users [{user: u, password: p}] } }`), testserver.Client(nats.UserInfo("u", "p")))
	pub := newPublisher(t, srv.JetStream(t), publish.Config{})
	took, err := publishOnce(t, pub, tick{N: 1}, 10*time.Second)
	failure{publish.ErrNotSent, []error{jetstream.ErrJetStreamNotEnabledForAccount}, "find or make streams", 5 * time.Second}.check(t, err, took)
}

func TestStreamFull(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]jetstream.StreamConfig{
		"messages": {MaxMsgs: 1},
		"bytes":    {MaxBytes: 600},
		"key":      {MaxMsgsPerSubject: 1, DiscardNewPerSubject: true},
	} {
		js := testserver.Start(t).JetStream(t)
		limit.Name, limit.Subjects, limit.Discard = "EVENTS", []string{"events.>"}, jetstream.DiscardNew
		if _, err := js.CreateStream(t.Context(), limit); err != nil {
			t.Fatal(err)
		}
		pub := newPublisher(t, js, publish.Config{Provision: new(false)})
		if _, err := pub.Publish(t.Context(), tick{N: 1}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		took, err := publishOnce(t, pub, tick{N: 2}, 5*time.Second)
		failure{publish.ErrRejected, []error{publish.ErrFull}, "maximum", 5 * time.Second}.check(t, err, took)
		var e *publish.Error
		if errors.As(err, &e) && !strings.HasPrefix(e.Reason, "10077 ") {
			t.Errorf("%s: reason is %q", name, e.Reason)
		}
	}
}

const permissions = `
accounts {
  A {
    jetstream: enabled
    users [
      {user: admin, password: p}
      {user: publisher, password: p, permissions: {publish: ["events.test.tick.>", "$JS.API.>"], subscribe: "_INBOX.>"}}
      {user: mute, password: p, permissions: {publish: ["events.>"], subscribe: "elsewhere.>"}}
      {user: bound, password: p, permissions: {publish: ["events.>"], subscribe: "_INBOX.>"}}
    ]
  }
}
`

func TestPermissions(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Conf(permissions), testserver.Client(nats.UserInfo("admin", "p")))
	createStreams(t, srv.JetStream(t))
	as := func(t *testing.T, user string, cfg publish.Config) *publish.Publisher {
		t.Helper()
		return newPublisher(t, srv.JetStream(t, nats.UserInfo(user, "p"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})), cfg)
	}
	t.Run("publish", func(t *testing.T) {
		t.Parallel()
		pub := as(t, "publisher", publish.Config{})
		if _, err := pub.Publish(t.Context(), tick{N: 1}); err != nil {
			t.Fatal(err)
		}
		want := failure{publish.ErrRejected, []error{publish.ErrPermission, nats.ErrPermissionViolation}, "events.test.bulky.v1._", 5 * time.Second}
		for range 2 { // the second time too, though the server says the same words
			took, err := publishOnce(t, pub, bulky{}, 10*time.Second)
			want.check(t, err, took)
		}
		// The violation is not laid at another event's door.
		f := pub.PublishAsync(t.Context(), bulky{})
		if _, err := pub.Publish(t.Context(), tick{N: 2}); err != nil {
			t.Error(err)
		}
		if _, err := f.Wait(t.Context()); !errors.Is(err, publish.ErrPermission) {
			t.Error(err)
		}
	})
	t.Run("inbox", func(t *testing.T) {
		t.Parallel()
		pub := as(t, "mute", publish.Config{Provision: new(false)})
		took, err := publishOnce(t, pub, tick{N: 1}, 10*time.Second)
		failure{publish.ErrNotSent, []error{publish.ErrPermission}, "inbox prefix", 5 * time.Second}.check(t, err, took)
	})
	t.Run("streams", func(t *testing.T) {
		t.Parallel()
		took, err := publishOnce(t, as(t, "bound", publish.Config{AckTimeout: 300 * time.Millisecond}), tick{N: 1}, 10*time.Second)
		failure{publish.ErrNotSent, []error{publish.ErrPermission}, "Provision", 5 * time.Second}.check(t, err, took)
		if _, err := as(t, "bound", publish.Config{Provision: new(false)}).Publish(t.Context(), tick{N: 1}); err != nil {
			t.Errorf("binding asks the server for nothing but publishing: %v", err)
		}
	})
}

func TestInvalidEvents(t *testing.T) {
	t.Parallel()
	pub := newPublisher(t, testserver.Start(t).JetStream(t), publish.Config{})
	if _, err := pub.Publish(t.Context(), tick{N: 1}); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 70_000)
	for name, tc := range map[string]struct {
		payload envelope.Payload
		opts    []publish.Option
		want    error
	}{
		"too large":      {bulky{Text: strings.Repeat("x", 1<<20)}, nil, publish.ErrTooLarge},
		"too many bytes": {bulky{}, []publish.Option{publish.WithExtension("a", long)}, envelope.ErrTooLarge},
		"no subject":     {dotted{}, nil, subject.ErrType},
		"bad type":       {badType{}, nil, envelope.ErrText},
		"bad source":     {tick{}, []publish.Option{publish.WithSource("a b")}, envelope.ErrURIReference},
		"bad name":       {tick{}, []publish.Option{publish.WithExtension("A", "b")}, envelope.ErrName},
		"no codec":       {tick{}, []publish.Option{publish.WithContentType("text/csv")}, envelope.ErrNoCodec},
		"nil":            {nil, nil, envelope.ErrPayload},
		"nil pointer":    {(*tick)(nil), nil, envelope.ErrPayload},
	} {
		_, err := pub.Publish(t.Context(), tc.payload, tc.opts...)
		if !errors.Is(err, publish.ErrNotSent) || !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, asyncErr := pub.PublishAsync(t.Context(), tc.payload, tc.opts...).Wait(t.Context()); !errors.Is(asyncErr, tc.want) {
			t.Errorf("%s, asynchronously: %v", name, asyncErr)
		}
	}
}

type dotted struct{}

func (dotted) EventType() string { return "test..dotted" }

// TestHeadroom finds the greatest event: one that still fits with the headers
// of a dead letter.
func TestHeadroom(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t)
	nc := srv.Connect(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	pub := newPublisher(t, js, publish.Config{})
	most := 0
	for size, step := 0, 1<<19; step > 0; step /= 2 {
		if _, err := pub.PublishRaw(t.Context(), envelope.Raw{Attributes: envelope.Attributes{Type: "t"}, Data: make([]byte, size+step)}); err == nil {
			size += step
			most = size
		} else if !errors.Is(err, publish.ErrTooLarge) {
			t.Fatal(err)
		}
	}
	if room := int(nc.MaxPayload()) - most; room < envelope.HeaderHeadroom || room > envelope.HeaderHeadroom+1024 {
		t.Errorf("the greatest data has %d bytes, which leaves %d", most, room)
	}
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Listen())
	proxy := testserver.StartProxy(t, srv.URL())
	pub := newPublisher(t, proxy.JetStream(t), publish.Config{})
	if _, err := pub.Publish(t.Context(), tick{N: 1}); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("the user went away")
	gone, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err := pub.Publish(gone, tick{N: 2})
	failure{publish.ErrNotSent, []error{context.Canceled, cause}, "went away", 0}.check(t, err, 0)

	proxy.Hold(true, testserver.ToClient)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := pub.Publish(ctx, tick{Key: "k", N: 3})
		done <- err
	}()
	stored := func() bool { return len(readTicks(t, srv.JetStream(t))) == 2 }
	testserver.Eventually(t, 5*time.Second, stored, "the event is stored")
	// One behind it, of the same key, has not been sent.
	behind, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	_, err = pub.Publish(behind, tick{Key: "k", N: 4})
	failure{publish.ErrNotSent, []error{context.DeadlineExceeded}, "deadline", 0}.check(t, err, 0)
	cancel(cause)
	failure{publish.ErrUnknown, []error{context.Canceled, cause}, "events.test.tick.v1.k", 0}.check(t, <-done, 0)
	proxy.Hold(false)
	if ack, err := pub.Publish(t.Context(), tick{Key: "k", N: 5}); err != nil || ack.Sequence != 3 {
		t.Errorf("the next one: %+v, %v", ack, err)
	}
}

func TestConnectionClosed(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Listen())
	proxy := testserver.StartProxy(t, srv.URL())
	nc := proxy.Connect(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	pub := newPublisher(t, js, publish.Config{})
	if _, err := pub.Publish(t.Context(), tick{N: 1}); err != nil {
		t.Fatal(err)
	}
	proxy.Hold(true, testserver.ToClient)
	sent := pub.PublishAsync(t.Context(), tick{Key: "k", N: 2})
	behind := pub.PublishAsync(t.Context(), tick{Key: "k", N: 3})
	nc.Close()
	_, err = sent.Wait(t.Context())
	failure{publish.ErrUnknown, []error{nats.ErrConnectionClosed}, "closed", 0}.check(t, err, 0)
	_, err = behind.Wait(t.Context())
	failure{publish.ErrNotSent, []error{nats.ErrConnectionClosed}, "closed", 0}.check(t, err, 0)
	took, err := publishOnce(t, pub, tick{N: 4}, 5*time.Second)
	failure{publish.ErrNotSent, []error{nats.ErrConnectionClosed}, "closed", 5 * time.Second}.check(t, err, took)
	fresh := newPublisher(t, js, publish.Config{})
	took, err = publishOnce(t, fresh, tick{N: 5}, 5*time.Second)
	failure{publish.ErrNotSent, []error{nats.ErrConnectionClosed}, "closed", 5 * time.Second}.check(t, err, took)
}

func TestNoAcknowledgement(t *testing.T) {
	t.Parallel()
	srv := testserver.Start(t, testserver.Listen())
	proxy := testserver.StartProxy(t, srv.URL())
	createStreams(t, srv.JetStream(t))
	drop := proxy.Inject(testserver.Fault{Match: testserver.Answered("events.>")})
	pub := newPublisher(t, proxy.JetStream(t), publish.Config{Provision: new(false), AckTimeout: 100 * time.Millisecond, RetryFor: 500 * time.Millisecond})
	start := time.Now()
	_, err := pub.Publish(t.Context(), tick{N: 1})
	failure{publish.ErrUnknown, []error{context.DeadlineExceeded}, "within 500ms", 5 * time.Second}.check(t, err, time.Since(start))
	if drop.Hits() < 2 {
		t.Errorf("%d attempts, want several", drop.Hits())
	}
	if stored := readTicks(t, srv.JetStream(t)); len(stored) != 1 {
		t.Errorf("%d events stored: attempts of one publish must share an id", len(stored))
	}
}
