package supervise

import (
	"bytes"
	"fmt"
	"runtime/pprof"
	"strconv"
	"strings"
)

const maxStacks = 64 << 10 // bytes of one report

// profile is what the goroutines that carry a run's label were doing at one
// moment.
type profile []stack

// stack is one stack and how many goroutines of one run share it.
type stack struct {
	path, run string
	count     int
	text      string
}

// takeProfile reads the runtime's goroutine profile in its text form (debug=1),
// the only one that prints labels. If that form should change, the reports
// lose their stacks and a test fails; nothing else depends on it.
func takeProfile() profile {
	var buf bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&buf, 1); err != nil {
		return nil
	}
	return parseProfile(buf.String())
}

// parseProfile cuts the text into its blocks:
//
//	2 @ 0x43a2c5 0x44c1c5 …
//	# labels: {"supervise":"shop/billing", "supervise-run":"1"}
//	#	0x4a1b2c	main.charge+0x3c	/src/main.go:12
func parseProfile(text string) profile {
	var p profile
	for block := range strings.SplitSeq(text, "\n\n") {
		head, rest, _ := strings.Cut(block, "\n")
		if strings.HasPrefix(head, "goroutine profile:") {
			head, rest, _ = strings.Cut(rest, "\n")
		}
		labels, frames, _ := strings.Cut(rest, "\n")
		if !strings.HasPrefix(labels, "# labels: ") {
			continue
		}
		path, ok := label(labels, labelPath)
		if !ok {
			continue
		}
		number, _ := label(labels, labelRun)
		count, _, _ := strings.Cut(head, " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			continue
		}
		p = append(p, stack{path: path, run: number, count: n, text: readable(n, path, frames)})
	}
	return p
}

// label finds one value in the runtime's rendering of labels, where keys and
// values are quoted, so that no value can look like a key.
func label(labels, key string) (string, bool) {
	quoted := strconv.Quote(key) + ":"
	i := strings.Index(labels, "{"+quoted)
	if i < 0 {
		i = strings.Index(labels, ", "+quoted)
		i++ // the separator is one byte longer
	}
	if i <= 0 {
		return "", false
	}
	value, err := strconv.QuotedPrefix(labels[i+1+len(quoted):])
	if err != nil {
		return "", false
	}
	value, err = strconv.Unquote(value)
	return value, err == nil
}

func readable(n int, path, frames string) string {
	var b strings.Builder
	unit := "goroutines"
	if n == 1 {
		unit = "goroutine"
	}
	fmt.Fprintf(&b, "%d %s of %s:\n", n, unit, path)
	for line := range strings.Lines(frames) {
		fields := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(fields) < 4 {
			continue
		}
		fmt.Fprintf(&b, "    %s %s\n", strings.TrimSpace(fields[2]), fields[len(fields)-1])
	}
	return b.String()
}

// of returns what one run of the child with this path has started, and what
// the children below it have.
func (p profile) of(path string, number uint64) (goroutines int, stacks string) {
	var b strings.Builder
	run := strconv.FormatUint(number, 10)
	for _, st := range p {
		if (st.path != path || st.run != run) && !strings.HasPrefix(st.path, path+"/") {
			continue
		}
		goroutines += st.count
		if b.Len()+len(st.text) <= maxStacks {
			b.WriteString(st.text)
		} else if !strings.HasSuffix(b.String(), "…\n") {
			b.WriteString("…\n")
		}
	}
	return goroutines, b.String()
}
