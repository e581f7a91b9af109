package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// What a handler writes of each run: its beginning and its end.
const (
	began     = 'b'
	handled   = 'h' // it returned nil right after this was written
	failed    = 'f' // it returned an error of its own
	cancelled = 'c' // its context was cancelled first
)

// record is one line of a journal.
type record struct {
	kind byte
	n    int   // number of the event
	at   int64 // ns since 1970; all processes share the machine's clock
	both bool  // the handler saw both values of the header
}

// journal is the file in which the processes of one instance write what they
// do. Each line is one write to the kernel, so it outlives a SIGKILL.
type journal struct{ file *os.File }

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the harness chose the path
	if err != nil {
		return nil, err
	}
	return &journal{file: f}, nil
}

func (j *journal) write(kind byte, n int, both bool) error {
	_, err := j.file.Write(fmt.Appendf(nil, "%c %d %d %t\n", kind, n, time.Now().UnixNano(), both))
	return err
}

// journals reads what all instances of a row have written so far.
type journals struct {
	dir string

	mu      sync.Mutex
	read    map[string]int64 // bytes of each file
	records []record
	handled map[int]bool
}

const journalSuffix = ".journal"

func newJournals(dir string) *journals {
	return &journals{dir: dir, read: make(map[string]int64), handled: make(map[int]bool)}
}

// progress reads on, and returns how many records there are and how many
// events were handled.
func (js *journals) progress() (records, events int, err error) {
	js.mu.Lock()
	defer js.mu.Unlock()
	files, err := filepath.Glob(filepath.Join(js.dir, "*"+journalSuffix))
	if err != nil {
		return 0, 0, err
	}
	for _, path := range files {
		if err := js.readOn(path); err != nil {
			return 0, 0, fmt.Errorf("read journal: %w", err)
		}
	}
	return len(js.records), len(js.handled), nil
}

func (js *journals) readOn(path string) error {
	f, err := os.Open(path) //nolint:gosec // the harness chose the path
	if err != nil {
		return err
	}
	from := js.read[path]
	data, err := io.ReadAll(io.NewSectionReader(f, from, 1<<40))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	end := bytes.LastIndexByte(data, '\n') + 1
	for line := range bytes.Lines(data[:end]) {
		var r record
		if _, err := fmt.Sscanf(string(line), "%c %d %d %t\n", &r.kind, &r.n, &r.at, &r.both); err != nil {
			return fmt.Errorf("line %q: %w", line, err)
		}
		js.records = append(js.records, r)
		if r.kind == handled {
			js.handled[r.n] = true
		}
	}
	js.read[path] = from + int64(end)
	return nil
}

// all returns the records in the order of their times.
func (js *journals) all() []record {
	js.mu.Lock()
	defer js.mu.Unlock()
	out := slices.Clone(js.records)
	slices.SortStableFunc(out, func(a, b record) int { return int(a.at - b.at) })
	return out
}
