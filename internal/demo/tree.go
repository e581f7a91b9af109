package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/agner-go/agner/pkg/supervise"
)

var errMailServer = errors.New("the mail server hung up")

// showCrash has a child of notify fail, and shows the supervision tree while it
// waits for its restart and after it.
func (d *demo) showCrash(ctx context.Context) error {
	d.tell.step("A child crashes")
	const child = "notify/mailer"
	sibling := d.node("notify/events")
	d.tell.say("the supervision tree of notify-1:")
	d.tree()
	d.notify.mailer.broken <- errMailServer
	down, err := d.until(ctx, child, func(n supervise.Status) bool { return n.State != supervise.StateRunning })
	if err != nil {
		return err
	}
	if down {
		d.tell.say("its mailer fails; it is restarted after a backoff, which grows if it fails again:")
		d.tree()
	}
	if _, err := d.until(ctx, child, func(n supervise.Status) bool {
		return n.State == supervise.StateRunning && n.Restarts > 0
	}); err != nil {
		return err
	}
	d.tell.say("back again, and its siblings were not touched:")
	d.tree()
	if after := d.node("notify/events"); after.Starts != sibling.Starts {
		return fmt.Errorf("the sibling was started %d times, before the crash %d", after.Starts, sibling.Starts)
	}
	d.sum.Crashes++
	return nil
}

// node is a node of notify's tree.
func (d *demo) node(path string) supervise.Status {
	st := d.notify.svc.Status().Tree
	if n := st.Find(path); n != nil {
		return *n
	}
	return supervise.Status{}
}

// until waits for a condition of a node. It looks often, for a backoff lasts
// only a tenth of a second; seen is false if a restart was quicker.
func (d *demo) until(ctx context.Context, path string, cond func(supervise.Status) bool) (seen bool, err error) {
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for {
		n := d.node(path)
		switch {
		case cond(n):
			return true, nil
		case n.Restarts > 0:
			return false, nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// tree tells notify's tree.
func (d *demo) tree() {
	st := d.notify.svc.Status().Tree
	d.branch(st, 0)
}

func (d *demo) branch(n supervise.Status, depth int) {
	state := string(n.State)
	if n.Restarts > 0 {
		state += ", " + count(int(n.Restarts), "restart") //nolint:gosec // a handful
	}
	if n.LastError != nil {
		state += ", last error: " + n.LastError.Error
	}
	indent := strings.Repeat("  ", depth+1)
	d.tell.say("%s%-*s %s", indent, 34-len(indent), n.Name, state)
	for _, c := range n.Children {
		d.branch(c, depth+1)
	}
}
