package inbox

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"
)

// The world of the simulation: a clock, the servers as far as the pure parts see
// them (leases that expire, cursors under compare-and-set, a mailbox), and a judge
// that looks at every commit. It is no stand-in for NATS in a test of what talks
// to NATS: no code of the package that does so runs here.

const (
	simPartitions = 64
	simTTL        = DefaultLeaseTTL
	simMaxNodes   = 6
)

type simWorld struct {
	rand   *rand.Rand
	now    time.Duration
	queue  simQueue
	order  uint64
	steps  int
	parts  []simPartition
	leases map[string]*simLease
	nodes  []*simNode // that have not ended
	born   int
	mail   uint64 // sequence of the mailbox
	calm   bool   // no faults
	silent bool   // no messages

	broken                                             []string
	claims, commits, fenced, resolved, repeats, faults int
	lastClaim                                          time.Duration
}

// simPartition is what the servers hold of a partition, and what the judge knows.
type simPartition struct {
	cursor  cursor
	seq     uint64 // of the cursor; 0 for none
	mailbox []simMail
	done    int               // of the mailbox: committed
	effects map[string]uint64 // by origin: the last one whose effect was committed
}

// simMail is a message of the mailbox. One that a source brought has its sequence
// there, and may come twice after the source was restarted.
type simMail struct {
	seq       uint64
	origin    string
	originSeq uint64
}

type simLease struct {
	value   member
	expires time.Duration
}

type simEvent struct {
	at    time.Duration
	order uint64
	node  *simNode // whose goroutine it is; nil for the servers and the world
	do    func()
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func newSimWorld(seed uint64) *simWorld {
	w := &simWorld{rand: rand.New(rand.NewPCG(seed, 1)), leases: map[string]*simLease{}, parts: make([]simPartition, simPartitions)}
	for p := range w.parts {
		w.parts[p].effects = map[string]uint64{}
	}
	for range 4 {
		w.join()
	}
	w.after(nil, 0, w.traffic)
	w.after(nil, 0, w.fault)
	return w
}

// after has do run later; for a node not while it is paused, and not once it is
// dead.
func (w *simWorld) after(n *simNode, d time.Duration, do func()) {
	w.order++
	heap.Push(&w.queue, simEvent{w.now + d, w.order, n, do})
}

// step runs the next event.
func (w *simWorld) step() {
	e := heap.Pop(&w.queue).(simEvent)
	w.now = max(w.now, e.at)
	w.steps++
	switch {
	case e.node == nil:
		e.do()
	case e.node.dead:
	case e.node.paused > w.now:
		// In the order in which they were due, all at once.
		heap.Push(&w.queue, simEvent{e.node.paused, e.order, e.node, e.do})
	default:
		e.do()
	}
}

// ask is a request of a node: serve runs at the servers, then answer at the node,
// unless the network loses one of them. It reports neither.
func (w *simWorld) ask(n *simNode, serve, answer func()) {
	if n.cut > w.now || w.rand.IntN(200) == 0 {
		return
	}
	w.after(nil, w.delay(), func() {
		serve()
		if n.cut > w.now || w.rand.IntN(200) == 0 {
			return
		}
		w.after(n, w.delay(), answer)
	})
}

// delay is short, and now and then so long that a request arrives after another
// one that was sent for its sake.
func (w *simWorld) delay() time.Duration {
	if !w.calm && w.rand.IntN(300) == 0 {
		return w.between(500*time.Millisecond, 6*time.Second)
	}
	return w.between(200*time.Microsecond, 20*time.Millisecond)
}

func (w *simWorld) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.rand.Int64N(int64(most-least)))
}

func (w *simWorld) fail(format string, args ...any) {
	if len(w.broken) < 20 {
		w.broken = append(w.broken, fmt.Sprintf("%10.3fs: ", w.now.Seconds())+fmt.Sprintf(format, args...))
	}
}

// live are the leases that have not expired.
func (w *simWorld) live() []member {
	var members []member
	for _, n := range w.nodes { // in the order of their ids
		if l := w.leases[n.id]; l != nil && l.expires > w.now {
			members = append(members, l.value)
		}
	}
	return members
}

// put replaces a cursor if its sequence is the expected one. The judge compares
// what was done with what it knows: base is the position from which the commit
// went, effects are the messages that it applied.
func (w *simWorld) put(p int, next cursor, expected, base uint64, effects []simMail) (seq uint64, ok bool) {
	part := &w.parts[p]
	if part.seq != expected {
		return 0, false
	}
	switch {
	case next.Epoch == part.cursor.Epoch+1:
		w.claims++
		w.lastClaim = w.now
		if next.Position != part.cursor.Position {
			w.fail("partition %d: a claim moved the position from %d to %d", p, part.cursor.Position, next.Position)
		}
	case next.Epoch != part.cursor.Epoch:
		w.fail("partition %d: epoch %d follows %d", p, next.Epoch, part.cursor.Epoch)
	case next.Owner != part.cursor.Owner && next.Owner != "":
		w.fail("partition %d: %s commits under the epoch of %s", p, next.Owner, part.cursor.Owner)
	case part.cursor.Owner == "":
		w.fail("partition %d: commit after the release of epoch %d", p, next.Epoch)
	default:
		w.commits++
		w.judge(p, base, next.Position, effects)
	}
	part.seq = w.order<<8 + 1 // grows with each event
	part.cursor = next.clone()
	return part.seq, true
}

// judge looks at one commit: it must go on where the last one ended, and apply
// every message whose effect is not there yet, in order, and no other.
func (w *simWorld) judge(p int, base, position uint64, effects []simMail) {
	part := &w.parts[p]
	if base != part.cursor.Position {
		w.fail("partition %d: a commit from position %d follows one up to %d", p, base, part.cursor.Position)
	}
	for ; part.done < len(part.mailbox) && part.mailbox[part.done].seq <= position; part.done++ {
		m := part.mailbox[part.done]
		again := m.origin != "" && m.originSeq <= part.effects[m.origin]
		applied := len(effects) > 0 && effects[0] == m
		switch {
		case again && applied:
			w.fail("partition %d: message %d of %s is applied twice", p, m.originSeq, m.origin)
		case !again && !applied:
			w.fail("partition %d: message %d is not applied", p, m.seq)
		}
		if again {
			w.repeats++
		}
		if applied {
			effects = effects[1:]
		}
		if m.origin != "" {
			part.effects[m.origin] = max(part.effects[m.origin], m.originSeq)
		}
	}
	if len(effects) > 0 {
		w.fail("partition %d: %d messages are applied that it does not have, or twice, or out of order", p, len(effects))
	}
}

// traffic brings messages, of which some come by a source; now and then a source
// is restarted and brings its last ones again.
func (w *simWorld) traffic() {
	if !w.silent {
		p := &w.parts[w.rand.IntN(simPartitions)]
		w.mail++
		m := simMail{seq: w.mail}
		if w.rand.IntN(3) == 0 {
			m.origin, m.originSeq = "EVENTS@1", w.mail
		}
		p.mailbox = append(p.mailbox, m)
		if w.rand.IntN(500) == 0 {
			w.restartSource()
		}
	}
	w.after(nil, w.between(0, 10*time.Millisecond), w.traffic)
}

func (w *simWorld) restartSource() {
	for i := range w.parts {
		p := &w.parts[i]
		for _, m := range p.mailbox[max(0, len(p.mailbox)-3):] {
			if m.origin != "" {
				w.mail++
				p.mailbox = append(p.mailbox, simMail{w.mail, m.origin, m.originSeq})
			}
		}
	}
}

// fault does something to some instance now and then.
func (w *simWorld) fault() {
	if !w.calm {
		w.disturb()
	}
	w.after(nil, w.between(0, 4*time.Second), w.fault)
}

func (w *simWorld) disturb() {
	if len(w.nodes) < 2 {
		w.join()
		return
	}
	w.faults++
	n := w.nodes[w.rand.IntN(len(w.nodes))]
	switch w.rand.IntN(7) {
	case 0:
		n.end()
		w.after(nil, w.between(0, 2*simTTL), w.join)
	case 1, 2:
		n.paused = w.now + w.between(simTTL/3, 3*simTTL)
	case 3:
		n.cut = w.now + w.between(simTTL/3, 3*simTTL)
	case 4:
		n.leave()
	case 5:
		n.hang()
	default:
		w.join()
	}
}

func (w *simWorld) join() {
	if len(w.nodes) >= simMaxNodes {
		return
	}
	w.born++
	n := &simNode{
		w: w, id: fmt.Sprintf("node-%04d", w.born), runs: map[int]*simRun{}, claiming: map[int]bool{},
		free: map[int]time.Duration{}, shuns: map[int]time.Duration{},
	}
	w.nodes = append(w.nodes, n)
	w.after(n, 0, n.tick)
}
