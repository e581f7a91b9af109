package publish_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/publish"
)

// large is an event of half a megabyte, in JSON.
type large struct {
	Data []byte `json:"data"`
}

func (large) EventType() string { return "test.large.v1" }

func newLarge() large { return large{Data: make([]byte, 384<<10)} }

// A limit of the account or of the server: the error says so, and what was
// acknowledged is there.
func TestAccountLimits(t *testing.T) {
	t.Parallel()
	account := func(limits string) testserver.Option {
		return testserver.Conf(`accounts { A { jetstream: {` + limits + `}, users: [{user: u, password: p}] } }`)
	}
	for name, tc := range map[string]struct {
		conf testserver.Option
		kind error
		code jetstream.ErrorCode
	}{
		"streams": {account("max_streams: 1"), publish.ErrNotSent, 10027},
		"storage": {account("max_file: 1200K"), publish.ErrRejected, 10002},
		"server":  {testserver.Conf("accounts { A { jetstream: enabled, users: [{user: u, password: p}] } }\njetstream { max_file_store: 1200K }"), publish.ErrRejected, 10023},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := testserver.Start(t, tc.conf, testserver.Client(nats.UserInfo("u", "p"))).JetStream(t)
			pub := newPublisher(t, js, publish.Config{})
			var err error
			acked := uint64(0)
			for ; err == nil && acked < 10; acked++ {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				_, err = pub.Publish(ctx, newLarge())
				cancel()
			}
			acked--
			var api *jetstream.APIError
			if !errors.Is(err, publish.ErrFull) || !errors.Is(err, tc.kind) || !errors.As(err, &api) || api.ErrorCode != tc.code {
				t.Errorf("after %d: %v", acked, err)
			}
			if errors.Is(tc.kind, publish.ErrRejected) {
				s, err := js.Stream(t.Context(), "EVENTS")
				if err != nil || s.CachedInfo().State.Msgs != acked || acked == 0 {
					t.Errorf("%d acknowledged: %+v, %v", acked, s.CachedInfo().State, err)
				}
			}
		})
	}
}

// A disk that is full: nats-server 2.15.2 stores no more in the stream and says
// nothing at all, until it is restarted with room. The error is that nobody knows,
// what was acknowledged is there afterwards, and publishing the rest again by its id
// stores each once. Where the machine allows no mount, no disk is filled; the
// limit of the server's store above is then the nearest thing tried.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	disk, err := testserver.SmallDisk(t, 8<<20)
	if err != nil {
		t.Logf("NOT TESTED on this machine, a full disk: %v", err)
		return
	}
	srv := testserver.StartChild(t, testserver.StoreDir(disk.Dir),
		testserver.Conf("jetstream { max_file_store: 1G }"))
	js := srv.JetStream(t)
	pub := newPublisher(t, js, publish.Config{AckTimeout: time.Second})
	send := func(n int) error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := pub.Publish(ctx, newLarge(), publish.WithID(strconv.Itoa(n)))
		return err
	}
	acked := 0
	for ; acked < 30; acked++ {
		if err = send(acked); err != nil {
			break
		}
	}
	if !errors.Is(err, publish.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) || acked == 0 {
		t.Errorf("after %d: %v", acked, err)
	}
	disk.Grow(t, 64<<20)
	srv.Restart(t)
	for n := acked; n < acked+3; n++ {
		testserver.Eventually(t, 20*time.Second, func() error { return send(n) }, "event %d is published again", n)
	}
	s, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]int{}
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		ids[m.Header.Get("ce-id")]++
	}
	for n := range acked + 3 {
		if ids[strconv.Itoa(n)] != 1 {
			t.Errorf("event %d is stored %d times", n, ids[strconv.Itoa(n)])
		}
	}
	t.Logf("full after %d events", acked)
}
