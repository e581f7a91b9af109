package chaos

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Record is one line of a history.
type Record struct {
	At   time.Duration `json:"at"` // since the run began, in ns
	What string        `json:"what"`

	// Of a message: its origin, key and number, and how long until it was
	// acknowledged, after how many tries.
	Origin Origin        `json:"origin,omitempty"`
	Key    string        `json:"key,omitempty"`
	N      int           `json:"n,omitempty"`
	Took   time.Duration `json:"took,omitempty"`
	Tries  int           `json:"tries,omitempty"`

	// Of a fault.
	Fault *Fault `json:"fault,omitempty"`
	Error string `json:"error,omitempty"`
}

// What records tell.
const (
	recordAcked    = "acked"     // the stream has stored a message
	recordFailed   = "failed"    // a try to send a message gave an error
	recordFault    = "fault"     // a fault begins
	recordFaultEnd = "fault-end" // and is over
)

// History is written as things happen: to a file, since a run sends a million
// messages. It is safe for concurrent use.
type History struct {
	began time.Time

	mu   sync.Mutex
	file *os.File
	out  *bufio.Writer
	err  error
}

// NewHistory makes the file.
func NewHistory(path string) (*History, error) {
	f, err := os.Create(path) //nolint:gosec // G304: the caller's own file
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return &History{began: time.Now(), file: f, out: bufio.NewWriterSize(f, 1<<16)}, nil
}

// Add writes a record, with the time.
func (h *History) Add(r Record) {
	r.At = time.Since(h.began)
	line, err := json.Marshal(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		_, err = h.out.Write(append(line, '\n'))
	}
	if r.What != recordAcked && err == nil {
		err = h.out.Flush() // what is rare is there also if the machine dies
	}
	h.err = errors.Join(h.err, err)
}

// Close writes what is left, and returns the first error there was.
func (h *History) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = errors.Join(h.err, h.out.Flush(), h.file.Close())
	return h.err
}

// ReadHistory calls f with each record of a history.
func ReadHistory(path string, f func(Record)) error {
	file, err := os.Open(path) //nolint:gosec // G304: the caller's own file
	if err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	defer func() { _ = file.Close() }()
	in := json.NewDecoder(bufio.NewReaderSize(file, 1<<16))
	for {
		var r Record
		switch err := in.Decode(&r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read history: %w", err)
		}
		f(r)
	}
}
