package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// progress is one line on standard error that says how far a long input is. It
// shows on a terminal only, and not before a second has passed.
type progress struct {
	w           io.Writer // nil where there is none to see it
	what        string    // published, replayed
	total       int       // 0 if it is not known
	began, last time.Time
	shown       bool
}

const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
)

func (a *app) newProgress(what string, total int) *progress {
	p := &progress{began: time.Now(), what: what, total: total}
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
	rate := float64(done+failed) / took.Seconds()
	fmt.Fprintf(p.w, "\r%s%d %s, %d failed, %.0f/s%s \x1b[K", p.bar(done+failed), done, p.what, failed, rate, p.left(done+failed, rate))
}

const barWidth = 24

// bar draws how much is done, where the total is known.
func (p *progress) bar(done int) string {
	if p.total == 0 {
		return ""
	}
	full := min(barWidth*done/p.total, barWidth)
	return fmt.Sprintf("[%s%s] %3d%%  ", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), min(100*done/p.total, 100))
}

// left says how long the rest takes at this rate.
func (p *progress) left(done int, rate float64) string {
	if p.total == 0 || rate == 0 {
		return ""
	}
	rest := time.Duration(float64(max(p.total-done, 0)) / rate * float64(time.Second))
	return fmt.Sprintf(", %s left", rest.Round(time.Second))
}

// clear makes room for another line.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
