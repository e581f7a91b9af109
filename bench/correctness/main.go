package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
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
		fmt.Fprintln(os.Stderr, "correctness:", err)
		os.Exit(1)
	}
}

// run is the harness, or one of its children when the first argument says so.
func run(ctx context.Context, args []string, in io.Reader, out, progress io.Writer) error {
	if len(args) == 1 {
		switch args[0] {
		case serveArg:
			return serve(ctx, in, out)
		case workArg:
			return work(ctx, in, out, progress)
		}
	}
	cfg, err := parse(args, progress)
	if err != nil {
		return err
	}
	return measureAll(ctx, cfg, out, progress)
}

type config struct {
	scenarios  []scenario
	contenders []contender
	pace       pace
	parallel   int
	stubborn   bool
	markdown   bool
}

func parse(args []string, errs io.Writer) (config, error) {
	var cfg config
	var quick bool
	var ss, cs string
	f := flag.NewFlagSet("correctness", flag.ContinueOnError)
	f.SetOutput(errs)
	f.BoolVar(&quick, "quick", false, "fewer events and less patience, for CI: says whether Agner holds, not what others would still do after half a minute")
	f.StringVar(&ss, "scenario", "", "comma-separated `names`; default all: "+strings.Join(names(scenarios(full()), scenario.title), ","))
	f.StringVar(&cs, "contender", "", "comma-separated `names`; default all: "+strings.Join(names(contenders(), contender.Name), ","))
	f.IntVar(&cfg.parallel, "parallel", 0, "`rows` taken at a time; default 4, with -quick 16 (most of a row is waiting)")
	f.BoolVar(&cfg.stubborn, "stubborn", false, "handlers ignore their context")
	f.BoolVar(&cfg.markdown, "markdown", false, "print a table instead of one JSON object a row")
	if err := f.Parse(args); err != nil {
		return config{}, err
	}
	cfg.pace = full()
	if quick {
		cfg.pace = short()
	}
	if cfg.parallel == 0 {
		cfg.parallel = cfg.pace.parallel
	}
	var err error
	if cfg.scenarios, err = pick("scenario", ss, scenarios(cfg.pace), scenario.title); err != nil {
		return config{}, err
	}
	if cfg.contenders, err = pick("contender", cs, contenders(), contender.Name); err != nil {
		return config{}, err
	}
	if cfg.parallel < 1 || f.NArg() > 0 {
		return config{}, errors.New("parallel is at least 1, and there are no arguments beside flags")
	}
	return cfg, nil
}

func names[T any](all []T, name func(T) string) []string {
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = name(v)
	}
	return out
}

// pick selects from all by comma-separated names; an empty list selects all.
func pick[T any](what, list string, all []T, name func(T) string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	var out []T
	for want := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(v T) bool { return name(v) == want })
		if i < 0 {
			return nil, fmt.Errorf("no %s %q; there are: %s", what, want, strings.Join(names(all, name), ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// measureAll takes all rows, some at a time, and prints them in order.
func measureAll(ctx context.Context, cfg config, out, progress io.Writer) error {
	type result struct {
		row row
		err error
	}
	var rows []chan result
	slots := make(chan struct{}, cfg.parallel)
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, s := range cfg.scenarios {
		for _, c := range cfg.contenders {
			done := make(chan result, 1)
			rows = append(rows, done)
			all.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				r, err := measure(ctx, c, s, cfg)
				if err != nil {
					err = fmt.Errorf("%s, %s: %w", s.name, c.Name(), err)
				}
				done <- result{r, err}
			})
		}
	}
	p := printer{out: out, markdown: cfg.markdown}
	var errs []error
	for _, done := range rows {
		r := <-done
		if r.err == nil {
			r.err = errors.Join(p.print(r.row), r.row.breach())
		}
		if r.err != nil {
			fmt.Fprintln(progress, "correctness:", r.err)
			errs = append(errs, r.err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%d of %d rows are not as they should be", len(errs), len(rows))
	}
	return nil
}
