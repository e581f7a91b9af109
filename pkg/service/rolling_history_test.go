package service_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// What records say.
const (
	factPublished = "published" // the stream has the event
	factHandled   = "handled"   // a handler of the event is about to return nil
	factCalled    = "called"    // a call has ended
	factServed    = "served"    // a handler of a call is about to return its result
)

// record is one line of a journal.
type record struct {
	Fact  string `json:"fact"`
	ID    int    `json:"id"`
	By    string `json:"by"`
	Error string `json:"error,omitempty"`
}

// journal is what one process writes down, a line at a time, so that its death
// loses nothing.
type journal struct {
	by string
	mu sync.Mutex
	f  *os.File
}

func openJournal(dir, by string) (*journal, error) {
	f, err := os.OpenFile(filepath.Join(dir, by+".jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &journal{by: by, f: f}, err
}

func (j *journal) write(fact string, id int, err error) error {
	r := record{Fact: fact, ID: id, By: j.by}
	if err != nil {
		r.Error = err.Error()
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err = j.f.Write(append(line, '\n'))
	return err
}

// readHistory reads the journals of all processes.
func readHistory(dir string) (all []record, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			var r record
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			all = append(all, r)
		}
		if err := lines.Err(); err != nil {
			return nil, err
		}
		_ = f.Close()
	}
	return all, nil
}

// verdict is what a history comes to. It knows nothing of Agner: it counts lines.
type verdict struct {
	calls, events int
	findings      []string // the first of each kind, with their number in front
}

func judge(history []record) verdict {
	count := map[string]map[int][]record{}
	for _, r := range history {
		if count[r.Fact] == nil {
			count[r.Fact] = map[int][]record{}
		}
		count[r.Fact][r.ID] = append(count[r.Fact][r.ID], r)
	}
	found := map[string][]string{}
	note := func(kind string, rs ...record) { found[kind] = append(found[kind], fmt.Sprintf("%+v", rs)) }
	for id, published := range count[factPublished] {
		handled := count[factHandled][id]
		switch {
		case published[0].Error != "":
			note("failed publishes", published...)
		case len(handled) == 0:
			note("lost events", published...)
		}
	}
	for id, handled := range count[factHandled] {
		if len(handled) > 1 {
			note("events handled twice", handled...)
		}
		if len(count[factPublished][id]) == 0 {
			note("events handled that were not published", handled...)
		}
	}
	for id, called := range count[factCalled] {
		switch {
		case called[0].Error != "":
			note("failed calls", called...)
		case len(count[factServed][id]) == 0:
			note("calls answered that nobody served", called...)
		}
	}
	for id, served := range count[factServed] {
		if len(served) > 1 {
			note("calls served twice", served...)
		}
		if len(count[factCalled][id]) == 0 {
			note("calls served that nobody made", served...)
		}
	}
	v := verdict{calls: len(count[factCalled]), events: len(count[factPublished])}
	for kind, all := range found {
		v.findings = append(v.findings, fmt.Sprintf("%d %s, such as %s", len(all), kind, strings.Join(all[:min(3, len(all))], " ")))
	}
	return v
}

// The judge finds what it is there for.
func TestJudge(t *testing.T) {
	t.Parallel()
	good := []record{
		{Fact: factPublished, ID: 1},
		{Fact: factHandled, ID: 1, By: "a"},
		{Fact: factCalled, ID: 1},
		{Fact: factServed, ID: 1, By: "a"},
	}
	if v := judge(good); len(v.findings) != 0 || v.calls != 1 || v.events != 1 {
		t.Errorf("a good history: %+v", v)
	}
	for want, more := range map[string][]record{
		"1 failed publishes":                      {{Fact: factPublished, ID: 2, Error: "no"}},
		"1 lost events":                           {{Fact: factPublished, ID: 2}},
		"1 events handled twice":                  {{Fact: factHandled, ID: 1, By: "b"}},
		"2 events handled that were not":          {{Fact: factHandled, ID: 2}, {Fact: factHandled, ID: 3}},
		"1 failed calls":                          {{Fact: factCalled, ID: 2, Error: "no"}},
		"1 calls answered that nobody served":     {{Fact: factCalled, ID: 2}},
		"1 calls served twice, such as [{Fact:se": {{Fact: factServed, ID: 1, By: "b"}},
		"1 calls served that nobody made":         {{Fact: factServed, ID: 2}},
	} {
		v := judge(append(good[:len(good):len(good)], more...))
		if len(v.findings) != 1 || !strings.HasPrefix(v.findings[0], want) {
			t.Errorf("want %q, got %q", want, v.findings)
		}
	}
}
