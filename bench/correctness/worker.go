package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// task is what an instance is told when it starts.
type task struct {
	URL       string
	Contender string
	Journal   string
	plan
}

// plan is what contenders know of a scenario: all of it is configuration that
// they have in common.
type plan struct {
	Instances int // at most at a time
	Workers   int // handlers at a time in one instance
	AckWait   time.Duration
	Attempts  int
	First     time.Duration // delay after the first failure; it doubles
	Most      time.Duration // up to this

	Takes     time.Duration // of a run of the handler
	FailEvery int           // every so many events fail; 0: none
	FailRuns  int           // so many first runs of them; 0: all
	Stubborn  bool          // the handler ignores its context
}

// work is an instance: one process of a service. It ends in order when ctx
// does, by SIGTERM, and at once when its input does.
func work(ctx context.Context, in io.Reader, out, log io.Writer) error {
	input := bufio.NewReader(in)
	line, err := input.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read task: %w", err)
	}
	var t task
	if err := json.Unmarshal(line, &t); err != nil {
		return fmt.Errorf("read task: %w", err)
	}
	c, err := pick("contender", t.Contender, contenders(), contender.Name)
	if err != nil {
		return err
	}
	j, err := openJournal(t.Journal)
	if err != nil {
		return err
	}
	orphaned := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, input)
		orphaned <- errors.Join(errors.New("the harness is gone"), err)
	}()
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h := &handler{plan: t.plan, journal: j, runs: make(map[int]int)}
	ended := make(chan error, 1)
	go func() {
		ended <- c[0].Work(ctx, t, h.handle, logger, func() { fmt.Fprintln(out, "ready") })
	}()
	select {
	case err = <-ended:
		return errors.Join(err, j.file.Close())
	case err = <-orphaned:
		return err
	}
}

// twoHeader is the header that some events carry twice. RFC 9110 and the W3C
// text on baggage allow a list header to stand on several lines.
const twoHeader = "baggage"

// handleFunc handles event n; values are those of a header.
type handleFunc func(ctx context.Context, n int, values func(header string) []string) error

// handler is the handler of all contenders.
type handler struct {
	plan
	journal *journal

	mu   sync.Mutex
	runs map[int]int
}

var errAsked = errors.New("this event fails, as asked")

func (h *handler) handle(ctx context.Context, n int, values func(string) []string) error {
	if err := h.journal.write(began, n, false); err != nil {
		return err
	}
	stop := ctx.Done()
	if h.Stubborn {
		stop = nil
	}
	t := time.NewTimer(h.Takes)
	defer t.Stop()
	select {
	case <-t.C:
	case <-stop:
		return errors.Join(ctx.Err(), h.journal.write(cancelled, n, false))
	}
	if h.fails(n) {
		return errors.Join(errAsked, h.journal.write(failed, n, false))
	}
	// An error here means that the run is not counted, so it must not count
	// as handled either.
	return h.journal.write(handled, n, len(values(twoHeader)) > 1)
}

func (h *handler) fails(n int) bool {
	if !isNth(n, h.FailEvery) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runs[n]++
	return h.FailRuns == 0 || h.runs[n] <= h.FailRuns
}

// isNth tells whether event n is one of every so many.
func isNth(n, every int) bool { return every > 0 && n%every == every-1 }
