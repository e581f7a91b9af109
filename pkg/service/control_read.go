package service

import (
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/agner-go/agner/internal/control"
	"github.com/agner-go/agner/internal/goroutine"
	"github.com/agner-go/agner/pkg/supervise"
)

// dumpEvery is the least time between two dumps of goroutines: each stops the
// world, and who may look must not be able to stop it all the time.
const dumpEvery = 100 * time.Millisecond

// read answers a verb of control.Read.
func (c *controller) read(verb string, request []byte) (answer, error) {
	s := c.service
	if verb != control.VerbInFlight {
		if err := decode(request, &struct{}{}); err != nil {
			return answer{}, err
		}
	}
	switch verb {
	case control.VerbReady:
		return answer{data: s.Readiness()}, nil
	case control.VerbStatus:
		return s.statusAnswer(), nil
	case control.VerbTree:
		return treeAnswer(s.tree.Status()), nil
	case control.VerbInFlight:
		return c.inFlight(request)
	case control.VerbGoroutines:
		return c.goroutines()
	case control.VerbLogLevel:
		level, err := s.logLevel()
		return answer{data: level}, err
	}
	return answer{}, noVerb(control.Read, verb)
}

func (s *Service) logLevel() (control.LogLevel, error) {
	if s.cfg.LogLevel == nil {
		return control.LogLevel{}, Errorf(CodeFailedPrecondition, "this program has no log level to ask for: it gave service.Config no LogLevel")
	}
	return control.LogLevel{Level: s.cfg.LogLevel.Level().String()}, nil
}

// mayDump keeps dumps apart.
func (c *controller) mayDump() error {
	if time.Since(c.lastDump) < dumpEvery {
		return Errorf(CodeUnavailable, "stacks are taken at most every %s: each stops the process for a moment", dumpEvery)
	}
	c.lastDump = time.Now()
	return nil
}

func (c *controller) inFlight(request []byte) (answer, error) {
	var r control.InFlightRequest
	if err := decode(request, &r); err != nil {
		return answer{}, err
	}
	if r.Stacks {
		if err := c.mayDump(); err != nil {
			return answer{}, err
		}
	}
	all := c.service.InFlight(r.Stacks)
	if r.OlderMS > 0 {
		least := time.Duration(r.OlderMS) * time.Millisecond
		all = slices.DeleteFunc(all, func(f InFlight) bool { return f.Age < least })
	}
	if r.Limit > 0 && len(all) > r.Limit {
		all = all[:r.Limit]
	}
	if all == nil {
		all = []InFlight{}
	}
	return answer{data: &all, shrink: func(size, limit int) (int, bool) {
		keep := max(0, min(len(all)*limit/size, len(all)-1))
		omitted := len(all) - keep
		all = all[:keep]
		return omitted, omitted > 0
	}}, nil
}

func (c *controller) goroutines() (answer, error) {
	if err := c.mayDump(); err != nil {
		return answer{}, err
	}
	dump, _ := goroutine.Dump()
	g := &control.Goroutines{Count: runtime.NumGoroutine(), Dump: string(dump)}
	return answer{data: g, shrink: func(size, limit int) (int, bool) {
		keep := len(g.Dump) * limit / size * 9 / 10
		omitted := len(g.Dump) - keep
		g.Dump = g.Dump[:keep]
		return omitted, omitted > 0
	}}, nil
}

// maxStatusText bounds one error's text in a status that is too large.
const maxStatusText = 256

// statusAnswer leaves out the tree, which has a verb of its own.
func (s *Service) statusAnswer() answer {
	st := s.Status()
	data := &struct {
		*Status
		Tree any `json:"tree,omitempty"` // hides that of Status
	}{Status: &st}
	return answer{data: data, shrink: func(int, int) (_ int, shorter bool) {
		for i := range st.Endpoints {
			shorter = cut(&st.Endpoints[i].LastError, maxStatusText) || shorter
		}
		if st.Events != nil {
			for i := range st.Events.Subscriptions {
				shorter = cut(&st.Events.Subscriptions[i].LastError, maxStatusText) || shorter
			}
		}
		return 0, shorter
	}}
}

// cut shortens a text, if it is longer than most by more than the mark that
// says so.
func cut(text *string, most int) bool {
	const mark = "…"
	if len(*text) <= most+len(mark) {
		return false
	}
	*text = strings.ToValidUTF8((*text)[:most], "") + mark
	return true
}

// treeAnswer makes a tree smaller in steps: shorter stacks, none, and then
// fewer children of the supervisors that have most of them.
func treeAnswer(tree supervise.Status) answer {
	step, most := 0, 0
	return answer{data: &tree, shrink: func(int, int) (omitted int, ok bool) {
		switch step++; step {
		case 1:
			trimTexts(&tree, maxStatusText, 2<<10)
			return 0, true
		case 2:
			trimTexts(&tree, maxStatusText, 0)
			return 0, true
		}
		if most == 0 {
			most = widest(&tree)
		}
		if most /= 2; most == 0 {
			return 0, false
		}
		return trimChildren(&tree, most), true
	}}
}

func trimTexts(node *supervise.Status, text, stack int) {
	if f := node.LastError; f != nil {
		cut(&f.Error, text)
		cut(&f.Stack, stack)
	}
	for i := range node.Abandoned {
		cut(&node.Abandoned[i].Stacks, stack)
	}
	for i := range node.Children {
		trimTexts(&node.Children[i], text, stack)
	}
}

func widest(node *supervise.Status) int {
	n := len(node.Children)
	for i := range node.Children {
		n = max(n, widest(&node.Children[i]))
	}
	return n
}

func trimChildren(node *supervise.Status, most int) (omitted int) {
	if n := len(node.Children); n > most {
		omitted = n - most
		node.Children = node.Children[:most]
	}
	for i := range node.Children {
		omitted += trimChildren(&node.Children[i], most)
	}
	return omitted
}
