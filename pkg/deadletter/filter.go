package deadletter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
)

// Reasons of a dead letter, in its header Agner-Dead-Reason.
const (
	ReasonInvalid     = "invalid"     // not a CloudEvent, or not this subject's
	ReasonUndecodable = "undecodable" // the data are not of the handler's type
	ReasonExhausted   = "exhausted"   // MaxAttempts runs failed
	ReasonRejected    = "rejected"    // the handler said consume.DeadLetter
	ReasonKilled      = "killed"      // its runs ended the process
)

// TypeInvalid is the type, for a Filter, of letters whose type cannot be read.
const TypeInvalid = "_invalid"

// Filter selects dead letters: those to which all that is set applies. The zero
// value selects all.
//
// The server itself filters by group, type, key, sequence and time, whatever the
// number of letters; for the others the headers of all that remain are read.
type Filter struct {
	// Sequences selects these letters of DEAD, in this order, whatever else
	// they are; one that is not there is an error that matches ErrNotFound.
	Sequences []uint64 `json:"sequences,omitempty"`

	Group        string `json:"group,omitempty"`
	Subscription string `json:"subscription,omitempty"`
	Type         string `json:"type,omitempty"`   // a type, or a pattern as of consume.OnEvent
	Key          string `json:"key,omitempty"`    // of the event
	Reason       string `json:"reason,omitempty"` // Reason…
	Error        string `json:"error,omitempty"`  // a part of the error's text, in any case of letters

	// Since and Until bound the time at which a letter was stored: not before
	// Since, and before Until.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`

	// After and Through bound the sequence in DEAD, after the one and up to the
	// other. After is the cursor: the sequence of the last letter of a page.
	After   uint64 `json:"after,omitempty"`
	Through uint64 `json:"through,omitempty"`

	// Limit ends after so many letters. 0 means no limit.
	Limit int `json:"limit,omitempty"`
}

// All tells whether a filter leaves out no letter.
func (f *Filter) All() bool {
	return len(f.Sequences) == 0 && f.Group == "" && f.Subscription == "" && f.Type == "" && f.Key == "" && f.Reason == "" &&
		f.Error == "" && f.Since.IsZero() && f.Until.IsZero() && f.After == 0 && f.Through == 0 && f.Limit == 0
}

// String says what a filter selects, for people.
func (f Filter) String() string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+" "+value)
		}
	}
	if len(f.Sequences) > 0 {
		add("letters", strings.Trim(fmt.Sprint(f.Sequences), "[]"))
	}
	add("group", f.Group)
	add("subscription", f.Subscription)
	add("type", f.Type)
	add("key", f.Key)
	add("reason", f.Reason)
	if f.Error != "" {
		parts = append(parts, fmt.Sprintf("error with %q", f.Error))
	}
	if !f.Since.IsZero() {
		add("since", f.Since.UTC().Format(time.RFC3339))
	}
	if !f.Until.IsZero() {
		add("until", f.Until.UTC().Format(time.RFC3339))
	}
	if f.After > 0 {
		add("after", strconv.FormatUint(f.After, 10))
	}
	if f.Through > 0 {
		add("through", strconv.FormatUint(f.Through, 10))
	}
	if f.Limit > 0 {
		add("at most", strconv.Itoa(f.Limit))
	}
	if len(parts) == 0 {
		return "all"
	}
	return strings.Join(parts, ", ")
}

// selection is a Filter in the server's terms, and what is left to look at.
type selection struct {
	Filter
	ns       subject.Namespace
	subjects []string
	key      string // to be compared; empty where the subjects decide
	text     string // of the error, in lower case
}

// compile checks a filter. The error matches ErrConfig.
func (c *Client) compile(f Filter) (*selection, error) {
	f.Sequences = slices.Clone(f.Sequences)
	s := &selection{Filter: f, ns: c.ns, text: strings.ToLower(f.Error)}
	fail := func(err error) (*selection, error) { return nil, fmt.Errorf("filter: %w: %w", ErrConfig, err) }
	if f.Limit < 0 {
		return nil, fmt.Errorf("filter: Limit must be 0 or more: %w", ErrConfig)
	}
	if !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return nil, fmt.Errorf("filter: Since must be before Until: %w", ErrConfig)
	}
	if f.Subscription != "" {
		if err := subject.CheckName("subscription", f.Subscription); err != nil {
			return fail(err)
		}
	}
	pattern := f.Type
	if pattern == "" {
		pattern = ">"
	}
	all, err := c.ns.DeadFilter(f.Group, pattern)
	if err != nil {
		return fail(err)
	}
	s.subjects = []string{all}
	if f.Key != "" {
		var exact bool
		if s.subjects, exact = subject.Keyed(all, f.Key); !exact {
			s.key = f.Key
		}
	}
	return s, nil
}

// byHeader tells whether it takes the headers of a letter to select it.
func (s *selection) byHeader() bool {
	return s.Subscription != "" || s.Reason != "" || s.text != "" || s.key != ""
}

// matches looks at the headers, where the server did not decide.
func (s *selection) matches(h nats.Header) bool {
	if s.Reason != "" && h.Get(consume.HeaderDeadReason) != s.Reason ||
		s.Subscription != "" && h.Get(consume.HeaderDeadSubscription) != s.Subscription {
		return false
	}
	if s.text != "" {
		text, _ := envelope.UnescapeHeader(h.Get(consume.HeaderDeadError))
		if !strings.Contains(strings.ToLower(text), s.text) {
			return false
		}
	}
	return s.key == "" || attribute(h, "partitionkey") == s.key
}
