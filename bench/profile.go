package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
)

// profiles writes what `go tool pprof` reads, of this process only. With one
// work and one contender beside raw it tells what a ratio is made of.
type profiles struct {
	cpu, mem string // file names; empty for none
}

// start returns how to end.
func (p profiles) start() (stop func() error, err error) {
	if p.mem != "" {
		runtime.MemProfileRate = 512 // many small samples: the works are short
	}
	if p.cpu == "" {
		return p.writeMem, nil
	}
	f, err := os.Create(p.cpu)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("profile: %w", err), f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return errors.Join(f.Close(), p.writeMem())
	}, nil
}

func (p profiles) writeMem() error {
	if p.mem == "" {
		return nil
	}
	f, err := os.Create(p.mem)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}
