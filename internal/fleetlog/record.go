package fleetlog

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
)

// Kind is what happened. Each is one token of a-z and '-'.
type Kind string

// The kinds there are. Readers take others too.
const (
	// KindUp is an instance that is registered. Object is its state.
	KindUp Kind = "up"
	// KindDown is an instance that is gone: reason goodbye, expired, replaced.
	KindDown Kind = "down"
	// KindDraining is an instance that takes no more work.
	KindDraining Kind = "draining"
	// KindReturned is an instance that was declared down while it was paused or
	// cut off, and has registered anew.
	KindReturned Kind = "returned"
	// KindRestarted is a child that ended and is started again. Object is its
	// path.
	KindRestarted Kind = "restarted"
	// KindGaveUp is a supervisor whose children failed too often.
	KindGaveUp Kind = "gave-up"
	// KindAbandoned is a child that did not stop and goes on. Object is its path.
	KindAbandoned Kind = "abandoned"
	// KindStuck is a handler that ignored its deadline.
	KindStuck Kind = "stuck"
	// KindPaused and KindResumed are of a subscription, an inbox or an instance.
	KindPaused  Kind = "paused"
	KindResumed Kind = "resumed"
	// KindHealed is a durable that was gone and was made again. Object is its
	// name.
	KindHealed Kind = "healed"
	// KindDeadLettered is an event that was given up. Object is the
	// subscription's durable, the event's id is in the detail.
	KindDeadLettered Kind = "dead-lettered"
	// KindDataLoss is events that retention removed unread.
	KindDataLoss Kind = "data-loss"
	// KindAdmin is an act of a person. Object is the verb, By who it was.
	KindAdmin Kind = "admin"
	// KindClaimed to KindParked are of partitions and keys of an inbox.
	KindClaimed  Kind = "claimed"
	KindReleased Kind = "released"
	KindExpired  Kind = "expired"
	KindFenced   Kind = "fenced"
	KindParked   Kind = "parked"
)

// Record is one line of the fleet log.
type Record struct {
	// Kind is required.
	Kind Kind `json:"kind"`
	// ID: of two records about one instance with the same id, the second is
	// dropped if it comes within 20 minutes. Default: random.
	ID string `json:"id"`
	// Time is when it happened. Default: now.
	Time time.Time `json:"time"`
	// Service and Instance are whom it is about. Default: the writer's.
	Service  string `json:"service"`
	Instance string `json:"instance"`
	// Object is what of the instance it is about: the path of a child, a
	// durable, a partition, a verb.
	Object string `json:"object,omitempty"`
	// Reason is one word for programs, Text a sentence for people.
	Reason string `json:"reason,omitempty"`
	Text   string `json:"text,omitempty"`
	// By is who did it or saw it, if that is not the instance itself.
	By string `json:"by,omitempty"`
	// Detail is what else is worth knowing.
	Detail map[string]string `json:"detail,omitempty"`
}

// Bounds of what a record carries, in bytes; what is longer is cut.
const (
	maxText   = 4096
	maxObject = 512
)

const (
	typePrefix = "agner.fleet."
	typeSuffix = ".v1"
	mediaType  = "application/json"
)

// errKind reports a kind that is no token.
var errKind = errors.New("kind must consist of a-z and '-'")

// EventType is the type of the CloudEvent.
func (k Kind) EventType() string { return typePrefix + string(k) + typeSuffix }

func (k Kind) check() error {
	if k == "" || strings.Trim(string(k), "abcdefghijklmnopqrstuvwxyz-") != "" || len(k) > subject.MaxNameLen {
		return fmt.Errorf("%.40q: %w", string(k), errKind)
	}
	return nil
}

// complete fills in what the writer knows and cuts what is too long.
func (r Record) complete(service, instance string) Record {
	if r.ID == "" {
		r.ID = rand.Text()
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.Time = r.Time.UTC()
	if r.Service == "" {
		r.Service = service
		if r.Instance == "" {
			r.Instance = instance
		}
	}
	r.Object, r.Text = cut(r.Object, maxObject), cut(r.Text, maxText)
	return r
}

// data is what stands in the event's body: attributes say the rest.
type data struct {
	Service  string            `json:"service"`
	Instance string            `json:"instance"`
	Object   string            `json:"object,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Text     string            `json:"text,omitempty"`
	By       string            `json:"by,omitempty"`
	Detail   map[string]string `json:"detail,omitempty"`
}

// message is a complete record as it is stored.
func (r Record) message(ns subject.Namespace) (*nats.Msg, error) {
	if err := r.Kind.check(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(data{r.Service, r.Instance, r.Object, r.Reason, r.Text, r.By, r.Detail})
	if err != nil {
		return nil, err
	}
	source := "/" + subject.Token(r.Service) + "/" + subject.Token(r.Instance)
	m, err := envelope.Marshal(&envelope.Raw{
		Attributes: envelope.Attributes{
			ID: r.ID, Source: source, Type: r.Kind.EventType(), Time: r.Time,
			DataContentType: mediaType, Key: r.Instance,
		},
		Data: body,
	})
	if err != nil {
		return nil, err
	}
	m.Subject = Subject(ns, string(r.Kind), subject.Key(r.Service, subject.MaxNameLen), subject.Key(r.Instance, subject.MaxNameLen))
	m.Header.Set(jetstream.MsgIDHeader, envelope.MessageID(source, r.ID))
	return m, nil
}

// Subject is that of records of a kind about an instance; each part may be the
// wildcard *.
func Subject(ns subject.Namespace, kind, service, instance string) string {
	return ns.Subject("fleet." + kind + "." + service + "." + instance)
}

// parse is the inverse of message.
func parse(m *nats.Msg) (Record, error) {
	e, err := envelope.Unmarshal(m)
	if err != nil {
		return Record{}, err
	}
	kind, ours := strings.CutPrefix(e.Type, typePrefix)
	kind, versioned := strings.CutSuffix(kind, typeSuffix)
	if !ours || !versioned {
		return Record{}, fmt.Errorf("type %q is none of the fleet log", e.Type)
	}
	if err := Kind(kind).check(); err != nil {
		return Record{}, err
	}
	var d data
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return Record{}, fmt.Errorf("data: %w", err)
	}
	return Record{Kind(kind), e.ID, e.Time, d.Service, d.Instance, d.Object, d.Reason, d.Text, d.By, d.Detail}, nil
}

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
