package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type config struct {
	rounds, scale int
	works         []work
	contenders    []contender
	json          bool
	profiles      profiles
}

func run(ctx context.Context, args []string, in io.Reader, out, progress io.Writer) error {
	if len(args) == 1 && args[0] == serveArg {
		return serve(ctx, in, out)
	}
	cfg, err := parse(args, progress)
	if err != nil {
		return err
	}
	srv, err := startChild(ctx)
	if err != nil {
		return err
	}
	stopProfiles, err := cfg.profiles.start()
	if err == nil {
		err = errors.Join(measure(ctx, cfg, srv.url, out, progress), stopProfiles())
	}
	return errors.Join(err, srv.stop())
}

func parse(args []string, errs io.Writer) (config, error) {
	var cfg config
	var ws, cs, base string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errs)
	f.IntVar(&cfg.rounds, "rounds", 15, "`rounds` of every work; 15 for figures to quote, 1 to see that it works")
	f.IntVar(&cfg.scale, "scale", 1, "`divisor` of the operations in a sample; figures to quote need 1")
	f.StringVar(&ws, "works", "", "comma-separated `names`; default all: "+strings.Join(names(works(), work.title), ","))
	f.StringVar(&cs, "contenders", "", "comma-separated `names`; default all: "+strings.Join(names(contenders(), contender.Name), ","))
	bases := []string{baseRaw, baseSDK, baseMicro}
	f.StringVar(&base, "base", "", "`contender` that all are compared with: "+strings.Join(bases, ",")+"; default each work's own")
	f.BoolVar(&cfg.json, "json", false, "print one JSON object a row instead of tables")
	f.StringVar(&cfg.profiles.cpu, "cpuprofile", "", "write a CPU profile of this process to `file`")
	f.StringVar(&cfg.profiles.mem, "memprofile", "", "write a profile of all allocations to `file`")
	if err := f.Parse(args); err != nil {
		return config{}, err
	}
	var err error
	if cfg.works, err = pick("work", ws, works(), work.title); err != nil {
		return config{}, err
	}
	if cfg.contenders, err = pick("contender", cs, contenders(), contender.Name); err != nil {
		return config{}, err
	}
	if base != "" && !slices.Contains(bases, base) {
		return config{}, fmt.Errorf("no base %q; there are %s", base, strings.Join(bases, ", "))
	}
	for i := range cfg.works {
		cfg.works[i].base = cmp.Or(base, cfg.works[i].base)
	}
	if cfg.rounds < 1 || cfg.scale < 1 || f.NArg() > 0 {
		return config{}, errors.New("rounds and scale are at least 1, and there are no arguments beside flags")
	}
	return cfg, nil
}

func measure(ctx context.Context, cfg config, url string, out, progress io.Writer) error {
	for _, w := range cfg.works {
		fmt.Fprintf(progress, "%s ", w.name)
		order, samples, err := w.rounds(ctx, cfg, url, func() { fmt.Fprint(progress, ".") })
		fmt.Fprintln(progress)
		if err != nil {
			return err
		}
		result := rows(w, order, samples)
		if cfg.json {
			err = writeJSON(out, result)
		} else {
			err = writeTable(out, w, result)
		}
		if err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

// rounds takes the samples of one work: in each round one by each contender,
// and each round starts with another one.
func (w work) rounds(ctx context.Context, cfg config, url string, tick func()) ([]string, map[string][]sample, error) {
	takePart := slices.Clone(cfg.contenders)
	if !slices.ContainsFunc(takePart, func(c contender) bool { return c.Name() == w.base }) {
		i := slices.IndexFunc(contenders(), func(c contender) bool { return c.Name() == w.base })
		takePart = append([]contender{contenders()[i]}, takePart...)
	}
	order := names(takePart, contender.Name)
	samples := make(map[string][]sample)
	for round := range cfg.rounds {
		n := len(takePart)
		var skipped []string
		for i := range n {
			c := takePart[(round+i)%n]
			s, err := w.do(ctx, url, c, cfg.scale)
			if errors.Is(err, errSkip) {
				skipped = append(skipped, c.Name())
				continue
			}
			if err != nil {
				return nil, nil, fmt.Errorf("round %d: %w", round+1, err)
			}
			samples[c.Name()] = append(samples[c.Name()], s)
		}
		takePart = slices.DeleteFunc(takePart, func(c contender) bool { return slices.Contains(skipped, c.Name()) })
		tick()
	}
	return order, samples, nil
}

func names[T any](all []T, name func(T) string) []string {
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = name(v)
	}
	return out
}
