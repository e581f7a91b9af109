package inbox

import (
	"strconv"

	"github.com/nats-io/nats.go"
)

// work is what one partition has done since its last commit, or the part of it
// that is in the commit under way.
type work struct {
	cursor   cursor // as the commit is to leave it
	states   []*entity
	data     [][]byte // of states, once the work is taken
	outs     []*nats.Msg
	guards   []*entity // read, not written, and the cause of outputs
	answers  []answer
	messages int
	bytes    int
}

// answer is what an asker gets after the commit.
type answer struct {
	to string
	m  *nats.Msg
}

// size is how many messages the commit of the work has.
func (w *work) size() int { return 1 + len(w.states) + len(w.outs) }

func (w *work) empty() bool { return w.messages == 0 }

// messages builds the work's part of a commit: the cursor first, whose
// compare-and-set is the fence.
func (e *engine) commitMessages(r *run, w *work, into []*nats.Msg) []*nats.Msg {
	into = append(into, &nats.Msg{
		Subject: e.in.subjects.Cursor(r.part),
		Header:  nats.Header{headerExpected: {strconv.FormatUint(r.seq, 10)}, headerRollup: e.values.rollup},
		Data:    w.cursor.encode(),
	})
	for i, ent := range w.states {
		into = append(into, e.stateMessage(ent, w.data[i]))
	}
	guards := w.guards
	for _, out := range w.outs {
		// Another try has headers of its own: a copy of the first may still be
		// on its way.
		m := &nats.Msg{Subject: out.Subject, Data: out.Data, Header: make(nats.Header, len(out.Header)+4)}
		for k, v := range out.Header {
			m.Header[k] = v
		}
		if len(guards) > 0 {
			m.Header[headerExpected] = []string{strconv.FormatUint(guards[0].seq, 10)}
			m.Header[headerExpectedOf] = []string{e.in.subjects.Entity(guards[0].token)}
			guards = guards[1:]
		}
		into = append(into, m)
	}
	return into
}
