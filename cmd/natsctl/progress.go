package main

import (
	"fmt"
	"io"
	"time"
)

// progress is one line on standard error that says how far a long input is. It
// shows on a terminal only, and not before a second has passed.
type progress struct {
	w           io.Writer // nil where there is none to see it
	began, last time.Time
	shown       bool
}

const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
)

func (a *app) newProgress() *progress {
	p := &progress{began: time.Now()}
	if isTerminal(a.stderr) {
		p.w = a.stderr
	}
	return p
}

func (p *progress) update(done, failed int) {
	if p.w == nil {
		return
	}
	now := time.Now()
	took := now.Sub(p.began)
	if took < progressAfter || now.Sub(p.last) < progressEvery {
		return
	}
	p.last, p.shown = now, true
	fmt.Fprintf(p.w, "\r%d published, %d failed, %.0f/s ", done, failed, float64(done)/took.Seconds())
}

// clear makes room for another line.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
