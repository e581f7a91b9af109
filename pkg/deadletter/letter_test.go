package deadletter_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/pkg/deadletter"
)

// message is a letter as it stands in DEAD, to be changed and stored again.
func message(l *deadletter.Letter) *nats.Msg {
	h := nats.Header{}
	for name, values := range l.Header {
		if !strings.HasPrefix(name, "Nats-") {
			h[name] = values
		}
	}
	return &nats.Msg{Subject: l.Subject, Header: h, Data: l.Data}
}

// Whatever stands in DEAD, reading it gives a letter or an error that says so.
func FuzzParse(f *testing.F) {
	f.Add("billing\nshop\nexhausted\n3\n0\n2026-01-01T00:00:00Z\nEVENTS\n7\n1\nevents.a._\nboom%0A")
	f.Add("\n\n\n-1\n99999999999999999999\nnoon\n\n\n\n\n%")
	names := []string{
		"Agner-Dead-Group", "Agner-Dead-Subscription", "Agner-Dead-Reason", "Agner-Dead-Attempts", "Agner-Dead-Round",
		"Agner-Dead-First", "Agner-Dead-Stream", "Agner-Dead-Sequence", "Agner-Dead-Created", "Agner-Dead-Subject", "Agner-Dead-Error",
	}
	f.Fuzz(func(t *testing.T, lines string) {
		h := nats.Header{}
		for i, v := range strings.Split(lines, "\n") {
			if i < len(names) && v != "" {
				h[names[i]] = []string{v}
			}
		}
		l, err := deadletter.Parse(&jetstream.RawStreamMsg{Sequence: 5, Header: h})
		switch {
		case err != nil && !errors.Is(err, deadletter.ErrLetter):
			t.Errorf("error %v is no ErrLetter", err)
		case err == nil && (l.Group == "" || l.Subscription == "" || l.Origin.Stream == "" || l.Round < 0 || l.Attempts < 0):
			t.Errorf("letter without what names it: %+v", l)
		}
	})
}
