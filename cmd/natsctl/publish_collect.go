package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/agner-go/agner/pkg/publish"
)

// maxReported bounds the errors that a summary carries.
const maxReported = 100

// pending is an event on its way.
type pending struct {
	line   int
	typ    string
	future *publish.Future
	err    error // of a line that never left
}

// wait is bounded by the publisher: each event settles within RetryFor.
func (e *pending) wait(ctx context.Context) (published, error) {
	err := e.err
	if err == nil {
		var ack publish.Ack
		if ack, err = e.future.Wait(ctx); err == nil {
			return stored(e.line, e.typ, ack), nil
		}
	}
	return published{Line: e.line, Type: e.typ, Error: err.Error()}, err
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

// collector takes the results of many events, in the order of their lines.
type collector struct {
	app   *app
	p     *printer
	show  *progress
	stop  context.CancelFunc // of the reading
	sum   summary
	fatal error // the first failure that is no line's own
}

func (a *app) publishLines(ctx context.Context, pub *publish.Publisher, r *lineReader, in io.Reader) error {
	began := time.Now()
	reading, stop := context.WithCancel(ctx)
	defer stop()
	queue := make(chan pending, publish.DefaultMaxInFlight)
	readErr := make(chan error, 1)
	go func() {
		defer close(queue)
		readErr <- r.feed(reading, pub, in, queue)
	}()
	c := &collector{app: a, p: a.printer(), show: a.newProgress("published", 0), stop: stop, sum: summary{Errors: []published{}}}
	c.run(ctx, queue)
	select {
	case err := <-readErr:
		if err != nil && c.fatal == nil {
			c.fatal, c.sum.Stopped = err, "reading"
		}
	default: // it hangs in the reading of a terminal or pipe, which nothing interrupts
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.connection.timeout)
	defer cancel()
	if err := pub.Close(closing); err != nil && c.fatal == nil {
		c.fatal = err
	}
	c.sum.Seconds = time.Since(began).Round(time.Millisecond).Seconds()
	if err := a.printSummary(c.sum); err != nil {
		return err
	}
	return c.verdict()
}

// readGrace is what the reading gets to notice that it should end.
const readGrace = 200 * time.Millisecond

// run takes all results. When ctx ends it takes those of what was read.
func (c *collector) run(ctx context.Context, queue <-chan pending) {
	defer c.show.clear()
	settling := context.WithoutCancel(ctx)
	ended := ctx.Done()
	var giveUp <-chan time.Time
	for {
		select {
		case e, more := <-queue:
			if !more {
				return
			}
			c.take(settling, &e)
		case <-ended:
			ended, giveUp = nil, time.After(readGrace)
			c.sum.Stopped = "interrupted"
		case <-giveUp:
			return
		}
	}
}

func (c *collector) take(ctx context.Context, e *pending) {
	result, err := e.wait(ctx)
	switch {
	case err == nil:
		c.sum.Published++
		if result.Duplicate {
			c.sum.Duplicates++
		}
	case c.sum.Stopped == "interrupted" && errors.Is(err, context.Canceled):
		return // read, and not sent any more
	default:
		c.fail(e, result, err)
	}
	if c.p.format == formatJSONL {
		if err := c.p.document(result); err != nil && c.fatal == nil {
			c.fatal, c.sum.Stopped = err, fmt.Sprintf("at line %d", e.line)
			c.stop()
		}
	}
	c.show.update(c.sum.Published, c.sum.Failed)
}

// fail counts and reports a failure; one that is no line's own stops the
// reading.
func (c *collector) fail(e *pending, result published, err error) {
	c.sum.Failed++
	if len(c.sum.Errors) < maxReported {
		c.sum.Errors = append(c.sum.Errors, result)
	}
	if e.future != nil && !lineFault(err) && c.fatal == nil {
		c.fatal, c.sum.Stopped = err, fmt.Sprintf("at line %d", e.line)
		c.stop()
	}
	if c.p.isTable() && c.sum.Failed <= maxReported {
		c.show.clear()
		fmt.Fprintf(c.app.stderr, "line %d: %s\n", e.line, onLine(result.Error, 300))
	}
}

// verdict turns the summary into the command's error.
func (c *collector) verdict() error {
	switch {
	case c.fatal != nil && c.sum.Stopped != "":
		return fmt.Errorf("stopped %s: %w", c.sum.Stopped, explainPublish(c.fatal))
	case c.fatal != nil:
		return c.fatal
	case c.sum.Stopped != "":
		return fmt.Errorf("%s after %s", c.sum.Stopped, count(c.sum.Published, "event"))
	case c.sum.Failed > 0:
		return coded(exitError, "%s of %d not published", count(c.sum.Failed, "event"), c.sum.Failed+c.sum.Published)
	}
	return nil
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

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
