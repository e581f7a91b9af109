package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// rss is the resident memory of this process in MiB, 0 where the system does
// not say.
func rss() int64 { return memory("VmRSS:") }

// peakRSS is the most that it has been since resetPeak.
func peakRSS() int64 { return memory("VmHWM:") }

// resetPeak gives back what was used before, and begins the peak anew. Where the
// system cannot do that, the peak is the process's.
func resetPeak() {
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

func memory(what string) int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), what)
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0
	}
	return kib >> 10
}
