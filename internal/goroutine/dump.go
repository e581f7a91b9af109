package goroutine

import "runtime"

// Dump is the stacks of all goroutines; taking it stops the world. It
// holds at most 16 MiB; whole is false if there was more.
func Dump() (text []byte, whole bool) {
	size := firstDump
	dump := make([]byte, size)
	n := runtime.Stack(dump, true)
	for n == size && size < maxDump {
		size *= 4
		dump = make([]byte, size)
		n = runtime.Stack(dump, true)
	}
	return dump[:n], n < size
}
