package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

// maxLine bounds one line of input: beyond any server's max_payload (64 MiB).
const maxLine = 64 << 20

// maxReported bounds the errors that a summary carries.
const maxReported = 100

var (
	errLineTooLong = errors.New("line is longer than 64 MiB")
	errNoType      = errors.New("bare data need a TYPE on the command line; a CloudEvent needs a specversion")
	errNotJSON     = errors.New("is not JSON: quote it, or give --content-type")
)

// lineReader turns lines into events.
type lineReader struct {
	template  envelope.Raw
	typeGiven bool
}

// event reads one line.
func (r *lineReader) event(line []byte) (envelope.Raw, error) {
	if isCloudEvent(line) {
		e, err := envelope.Unmarshal(&nats.Msg{
			Header: nats.Header{"Content-Type": {"application/cloudevents+json"}},
			Data:   line,
		})
		return e, fault(err)
	}
	if !r.typeGiven {
		return envelope.Raw{}, errNoType
	}
	e := r.template
	e.Data = line
	return e, checkData(&e)
}

// isCloudEvent tells whether a line is a CloudEvent in the JSON format: an
// object with a member specversion.
func isCloudEvent(line []byte) bool {
	if line[0] != '{' || !bytes.Contains(line, []byte(`"specversion"`)) {
		return false
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(line, &members) != nil {
		return false
	}
	_, ok := members["specversion"]
	return ok
}

// checkData holds data against their content type: what says JSON must be it,
// or every handler would refuse it.
func checkData(e *envelope.Raw) error {
	codec, err := (*envelope.Codecs)(nil).For(e.DataContentType)
	if errors.Is(err, envelope.ErrNoCodec) {
		return nil // bytes of somebody else's format
	}
	if err != nil {
		return err
	}
	if _, isJSON := codec.(envelope.JSON); !isJSON {
		return nil
	}
	var v json.RawMessage
	if err := codec.Decode(e.Data, &v); err != nil {
		return fmt.Errorf("%w: %w", errNotJSON, err)
	}
	return nil
}

func isSubjectError(err error) bool { return is(err, subject.ErrType, subject.ErrPattern) }

// pending is an event on its way.
type pending struct {
	line   int
	typ    string
	future *publish.Future
	err    error // of a line that never left
}

// summary is what publishing many events came to.
type summary struct {
	Published  int         `json:"published"`
	Duplicates int         `json:"duplicates"` // among the published: stored before
	Failed     int         `json:"failed"`
	Seconds    float64     `json:"seconds"`
	Errors     []published `json:"errors"`            // the first of them
	Stopped    string      `json:"stopped,omitempty"` // why the rest was not read
}

func (a *app) publishLines(ctx context.Context, pub *publish.Publisher, r *lineReader, in io.Reader) error {
	began := time.Now()
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	queue := make(chan pending, publish.DefaultMaxInFlight)
	readErr := make(chan error, 1)
	go func() {
		defer close(queue)
		readErr <- r.feed(reading, pub, in, queue)
	}()
	sum, err := a.collect(context.WithoutCancel(ctx), queue, stop)
	if err := <-readErr; err != nil && sum.Stopped == "" {
		sum.Stopped = err.Error()
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.connection.timeout)
	defer cancel()
	err = errors.Join(err, pub.Close(closing))
	sum.Seconds = time.Since(began).Round(time.Millisecond).Seconds()
	if err := a.printSummary(sum); err != nil {
		return err
	}
	return sum.verdict(err)
}

// feed reads the lines and sends each on its way; it ends early with ctx.
func (r *lineReader) feed(ctx context.Context, pub *publish.Publisher, in io.Reader, queue chan<- pending) error {
	br := bufio.NewReaderSize(in, 64<<10)
	for n := 1; ctx.Err() == nil; n++ {
		line, err := readLine(br)
		last := errors.Is(err, io.EOF)
		switch {
		case errors.Is(err, errLineTooLong):
			queue <- pending{line: n, err: err}
			continue
		case err != nil && !last:
			return fmt.Errorf("read line %d: %w", n, err)
		}
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\uFEFF"))
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			queue <- r.send(ctx, pub, n, line)
		}
		if last {
			break
		}
	}
	return nil
}

func (r *lineReader) send(ctx context.Context, pub *publish.Publisher, n int, line []byte) pending {
	e, err := r.event(line)
	if err != nil {
		return pending{line: n, err: err}
	}
	return pending{line: n, typ: e.Type, future: pub.PublishRawAsync(ctx, e)}
}

// readLine returns the next line, which the caller may keep. A line beyond
// maxLine is passed over with errLineTooLong.
func readLine(br *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := br.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = br.ReadSlice('\n')
			}
			return nil, errLineTooLong
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// collect takes the results in the order of the lines. The first failure that
// is no line's own stops the reading. It goes on to the last one: ctx ends only
// the reading too.
func (a *app) collect(ctx context.Context, queue <-chan pending, stop context.CancelCauseFunc) (sum summary, fatal error) {
	show := a.newProgress()
	defer show.done()
	p := a.printer()
	sum.Errors = []published{}
	for e := range queue {
		result, err := e.wait(ctx)
		if err == nil {
			sum.Published++
			if result.Duplicate {
				sum.Duplicates++
			}
		} else {
			sum.fail(result)
			if e.future != nil && !lineFault(err) && fatal == nil {
				fatal = err
				sum.Stopped = fmt.Sprintf("at line %d", e.line)
				stop(err)
			}
			if sum.Failed <= maxReported && p.isTable() {
				show.clear()
				fmt.Fprintf(a.stderr, "line %d: %s\n", e.line, onLine(result.Error, 300))
			}
		}
		if p.format == formatJSONL {
			if err := p.document(result); err != nil && fatal == nil {
				fatal = err
				stop(err)
			}
		}
		show.update(sum.Published, sum.Failed)
	}
	return sum, fatal
}

// wait is bounded by the publisher: each event settles within RetryFor.
func (e pending) wait(ctx context.Context) (published, error) {
	err := e.err
	if err == nil {
		var ack publish.Ack
		if ack, err = e.future.Wait(ctx); err == nil {
			return stored(e.line, e.typ, ack), nil
		}
	}
	return published{Line: e.line, Type: e.typ, Error: err.Error()}, err
}

func (s *summary) fail(r published) {
	s.Failed++
	if len(s.Errors) < maxReported {
		s.Errors = append(s.Errors, r)
	}
}

func (a *app) printSummary(sum summary) error {
	p := a.printer()
	if p.format == formatJSON {
		return p.document(sum)
	}
	w := a.stdout
	if p.format == formatJSONL {
		w = a.stderr
	}
	text := count(sum.Published, "event") + " published"
	if sum.Duplicates > 0 {
		text += fmt.Sprintf(" (%d of them stored before)", sum.Duplicates)
	}
	text += fmt.Sprintf(", %d failed, %.1f s", sum.Failed, sum.Seconds)
	fmt.Fprintln(w, text)
	return nil
}

// verdict turns the summary into the command's error.
func (s *summary) verdict(fatal error) error {
	switch {
	case fatal != nil && s.Stopped != "":
		return fmt.Errorf("stopped %s: %w", s.Stopped, explainPublish(fatal))
	case fatal != nil:
		return fatal
	case s.Stopped != "":
		return fmt.Errorf("stopped: %s", s.Stopped)
	case s.Failed > 0:
		return coded(exitError, "%s of %d not published", count(s.Failed, "event"), s.Failed+s.Published)
	}
	return nil
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
