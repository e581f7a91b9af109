package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// narrator tells the story: lines with the time since it began. It is safe for
// concurrent use.
type narrator struct {
	mu     sync.Mutex
	w      io.Writer
	bold   func(string) string
	began  time.Time
	number int
}

// step begins the next part of the story.
func (n *narrator) step(title string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.number++
	fmt.Fprintf(n.w, "\n%6.1f s  %s\n", time.Since(n.began).Seconds(), n.bold(fmt.Sprintf("%d. %s", n.number, title)))
}

// say adds a line to a step.
func (n *narrator) say(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(n.w, "          %s\n", fmt.Sprintf(format, args...))
}

// note tells what happens beside the story, with its time.
func (n *narrator) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(n.w, "%6.1f s  * %s\n", time.Since(n.began).Seconds(), fmt.Sprintf(format, args...))
}

// text adds lines that are no part of a step.
func (n *narrator) text(lines string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintln(n.w, strings.TrimRight(lines, "\n"))
}
