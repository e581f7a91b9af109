package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
)

// readEvent reads a stored message as the event that it should be.
func readEvent(m jetstream.Msg) (envelope.Raw, error) {
	return envelope.Unmarshal(&nats.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()})
}

// fault is the part of an error of package envelope that speaks of the event
// itself, without the message that it was on.
func fault(err error) error {
	var attribute *envelope.AttributeError
	var text *envelope.JSONError
	switch {
	case errors.Is(err, envelope.ErrNotCloudEvent):
		return envelope.ErrNotCloudEvent
	case errors.As(err, &attribute):
		return attribute
	case errors.As(err, &text):
		return text
	}
	return err
}

// eventView prints stored messages, one after the other: aligned lines for
// people, whole CloudEvents for machines.
type eventView struct {
	p      *printer
	ns     subject.Namespace
	style  style
	widths [5]int // of the columns, as wide as the widest cell so far
	begun  bool
}

func (a *app) newEventView(ns subject.Namespace) *eventView {
	return &eventView{p: a.printer(), ns: ns, style: a.styleFor(a.stdout)}
}

// Bounds of cells, in characters.
const (
	maxCell = 48
	maxData = 120
)

func (v *eventView) show(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
	e, err := readEvent(m)
	if err = fault(err); err == nil {
		err = v.checkSubject(&e, m.Subject())
	}
	if !v.p.isTable() {
		if err != nil {
			return v.p.document(malformed(m, meta, err))
		}
		return v.p.document(cloudEvent(&e))
	}
	v.head()
	at, seq := meta.Timestamp.Local().Format("15:04:05.000"), strconv.FormatUint(meta.Sequence.Stream, 10)
	if err != nil {
		return v.line(at, seq, m.Subject(), "", "", "", "MALFORMED: "+err.Error())
	}
	return v.line(at, seq, e.Type, e.Key, e.ID, e.Source, dataText(e.Data))
}

// checkSubject holds an event against the subject that it stands under: a
// subscription goes by the subject, so that others would never see it.
func (v *eventView) checkSubject(e *envelope.Raw, subj string) error {
	typ, _, err := v.ns.ParseEvent(subj)
	if err != nil {
		return err
	}
	if typ != e.Type {
		return fmt.Errorf("type attribute %q does not match the subject", e.Type)
	}
	return nil
}

func (v *eventView) head() {
	if v.begun {
		return
	}
	v.begun = true
	v.widths = [5]int{6, 24, 8, 22, 8}
	fmt.Fprintln(v.p.w, v.style.dim("TIME          "+v.pad("SEQ", 0)+v.pad("TYPE", 1)+v.pad("KEY", 2)+v.pad("ID", 3)+v.pad("SOURCE", 4)+"DATA"))
}

func (v *eventView) line(at, seq, typ, key, id, source, data string) error {
	if key == "" {
		key = "-"
	}
	if id == "" {
		id, source = "-", "-"
	}
	text := v.style.dim(at) + "  " + v.pad(seq, 0) + v.style.bold(v.pad(typ, 1)) + v.pad(key, 2) +
		v.pad(id, 3) + v.pad(source, 4) + onLine(data, maxData) + "\n"
	if _, err := v.p.w.Write([]byte(text)); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// pad fills a cell up to the width of its column, which grows with it.
func (v *eventView) pad(s string, column int) string {
	s = onLine(s, maxCell)
	n := utf8.RuneCountInString(s)
	v.widths[column] = max(v.widths[column], n)
	return s + strings.Repeat(" ", v.widths[column]-n+2)
}

// dataText is data as one line of text: JSON without its white space, bytes
// that are no text by their number.
func dataText(data []byte) string {
	if !utf8.Valid(data) {
		return fmt.Sprintf("(%d bytes)", len(data))
	}
	var compact bytes.Buffer
	if json.Compact(&compact, data) == nil {
		return compact.String()
	}
	return strings.TrimSpace(string(data))
}

// cloudEvent is the event in the JSON format of CloudEvents.
func cloudEvent(e *envelope.Raw) any {
	m, err := envelope.MarshalStructured(e)
	if err != nil { // what was read can be written, by the contract of envelope
		return malformedMessage{Error: err.Error()}
	}
	return json.RawMessage(m.Data)
}

// malformedMessage is a stored message that is no event.
type malformedMessage struct {
	Error    string      `json:"malformed"`
	Subject  string      `json:"subject"`
	Sequence uint64      `json:"sequence"`
	Stored   time.Time   `json:"stored"`
	Header   nats.Header `json:"header,omitempty"`
	Data     string      `json:"data,omitempty"`        // if it is text
	Bytes    []byte      `json:"data_base64,omitempty"` // if it is not
}

func malformed(m jetstream.Msg, meta *jetstream.MsgMetadata, err error) malformedMessage {
	out := malformedMessage{
		Error: err.Error(), Subject: m.Subject(), Sequence: meta.Sequence.Stream,
		Stored: meta.Timestamp.UTC(), Header: m.Headers(),
	}
	if utf8.Valid(m.Data()) {
		out.Data = string(m.Data())
	} else {
		out.Bytes = m.Data()
	}
	return out
}
