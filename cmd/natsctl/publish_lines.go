package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/subject"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/publish"
)

// maxLine bounds one line of input: beyond any server's max_payload (64 MiB).
const maxLine = 64 << 20

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
