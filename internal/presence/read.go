package presence

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// directGet is a request for several messages at once (ADR-31).
type directGet struct {
	Sequence  uint64   `json:"seq,omitempty"`
	Next      string   `json:"next_by_subj,omitempty"`
	Batch     int      `json:"batch,omitempty"`
	MultiLast []string `json:"multi_last,omitempty"`
}

const (
	// pageSize is how many entries are asked for at once.
	pageSize = 1000

	headerStatus     = "Status"
	headerReason     = "Description"
	headerNumPending = "Nats-Num-Pending"
	statusNotFound   = "404"
	statusEnd        = "204"
)

// scan returns all that the bucket knows of the keys that match, those that are
// not held included, by revision. It reads forward through the stream, in which
// each key stands once: one that is renewed meanwhile stands further ahead, so
// none is missed.
func (b *Bucket) scan(ctx context.Context, filter string) ([]Entry, error) {
	found := make(map[string]Entry)
	for from, more := uint64(1), true; more; {
		page, err := b.fetch(ctx, directGet{Sequence: from, Next: b.subject + filter, Batch: pageSize}, &more)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			found[e.Key], from = e, e.Revision+1
		}
		more = more && len(page) > 0
	}
	return slices.SortedFunc(maps.Values(found), func(a, b Entry) int { return cmp.Compare(a.Revision, b.Revision) }), nil
}

// several returns what the bucket knows of these keys; one of which it knows
// nothing is not in the answer.
func (b *Bucket) several(ctx context.Context, keys []string) ([]Entry, error) {
	var all []Entry
	for chunk := range slices.Chunk(keys, pageSize/10) {
		subjects := make([]string, 0, len(chunk))
		for _, key := range chunk {
			subjects = append(subjects, b.subject+key)
		}
		var more bool
		page, err := b.fetch(ctx, directGet{MultiLast: subjects}, &more)
		switch {
		case err != nil:
			return nil, err
		case more:
			return nil, errors.New("the answer was cut short")
		}
		all = append(all, page...)
	}
	return all, nil
}

// fetch asks once and collects the answers; more says that the server holds
// back some, for their number or size.
func (b *Bucket) fetch(ctx context.Context, get directGet, more *bool) ([]Entry, error) {
	request, err := json.Marshal(get)
	if err != nil {
		return nil, err
	}
	if !b.nc.IsConnected() {
		return nil, ErrOffline
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	inbox := b.nc.NewInbox()
	sub, err := b.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // an error says that it has ended already
	err = b.nc.PublishRequest(b.api+"DIRECT.GET."+stream.KVStream(b.name), inbox, request)
	if err != nil {
		return nil, err
	}
	var page []Entry
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		switch status := m.Header.Get(headerStatus); status {
		case "":
			e, err := b.answer(m)
			if err != nil {
				return nil, err
			}
			page = append(page, e)
		case statusNotFound:
			*more = false
			return page, nil
		case statusEnd:
			*more = m.Header.Get(headerNumPending) != "0"
			return page, nil
		default:
			return nil, fmt.Errorf("the server answers %s %s", status, m.Header.Get(headerReason))
		}
	}
}

// readTimeout bounds one question to the server.
const readTimeout = 2 * time.Second

func (b *Bucket) answer(m *nats.Msg) (Entry, error) {
	key, ok := strings.CutPrefix(m.Header.Get(jetstream.SubjectHeader), b.subject)
	if !ok {
		return Entry{}, fmt.Errorf("the server answers with a message on %.100q", m.Header.Get(jetstream.SubjectHeader))
	}
	rev, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return Entry{}, fmt.Errorf("sequence of the answer on %s: %w", key, err)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return Entry{}, fmt.Errorf("time of the answer on %s: %w", key, err)
	}
	return entryOf(key, m.Header, m.Data, rev, at), nil
}
