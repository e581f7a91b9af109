// Package goroutine finds the stack of one goroutine from outside, for reports
// that name what hangs.
package goroutine

import (
	"bytes"
	"runtime"
)

// ID is what the runtime calls this goroutine in its stack dumps. It serves to
// find its stack from outside, and nothing else. It takes about a microsecond:
// ask once for a goroutine, not once for a task.
func ID() string {
	var buf [64]byte
	head := buf[:runtime.Stack(buf[:], false)]
	head, _ = bytes.CutPrefix(head, []byte("goroutine "))
	id, _, _ := bytes.Cut(head, []byte(" "))
	return string(id)
}

// Bounds of a dump of all goroutines, which stops the world while it is taken.
const (
	firstDump = 256 << 10
	maxDump   = 16 << 20
	maxStack  = 8 << 10 // of one goroutine
)

// Stacks finds the stacks of goroutines by their ids, in one dump, which stops
// the world. What a dump of 16 MiB does not hold is missing; a stack is cut at
// 8 KiB.
func Stacks(ids []string) map[string]string {
	dump, _ := Dump()
	found := make(map[string]string, len(ids))
	for block := range bytes.SplitSeq(dump, []byte("\n\n")) {
		head, _ := bytes.CutPrefix(block, []byte("goroutine "))
		id, _, ok := bytes.Cut(head, []byte(" "))
		if !ok {
			continue
		}
		for _, want := range ids {
			if string(id) == want {
				found[want] = string(block[:min(len(block), maxStack)])
			}
		}
	}
	return found
}
