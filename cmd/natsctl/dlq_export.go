package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/agner-go/agner/pkg/deadletter"
)

const dlqExportHelp = `Write the events of dead letters to a file or standard output: one CloudEvent in
its JSON format on each line. The letters stay.

"publish --file" takes the lines back, to every group that subscribes to their
types: to give events back to the one subscription that failed, use "dlq replay".
Letters that are no events, that are redacted, or whose event is gone are left out,
named on standard error, and make the exit code 1.
` + dlqFilterHelp

func (a *app) dlqExportCommand() *cobra.Command {
	var f dlqFlags
	cmd := &cobra.Command{
		Use:               "export [SEQ...]",
		Short:             "Write the events of dead letters, for publish --file",
		Long:              dlqExportHelp,
		Example:           "  natsctl dlq export --group billing > letters.ndjson\n  natsctl dlq export 17 18 --file letters.ndjson",
		ValidArgsFunction: a.completeLetter,
	}
	a.addDLQFilter(cmd, &f.dlqFilter)
	cmd.Flags().StringVar(&f.file, "file", "-", "`file` to write, which must not exist; - for standard output")
	cmd.RunE = a.run(func(ctx context.Context, args []string) (err error) {
		filter, err := f.read(cmd.Flags(), args, time.Now())
		if err != nil {
			return err
		}
		d, err := a.openDLQ(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		w, closeFile, err := a.exportTo(f.file)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeFile()) }()
		return a.dlqExport(ctx, d, filter, w)
	})
	return cmd
}

func (a *app) exportTo(name string) (io.Writer, func() error, error) {
	if name == "-" {
		return a.stdout, func() error { return nil }, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the user's own file
	if errors.Is(err, os.ErrExist) {
		return nil, nil, usagef("--file: %w: name another, or remove it", err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("--file: %w", err)
	}
	return f, f.Close, nil
}

func (a *app) dlqExport(ctx context.Context, d *dlq, f deadletter.Filter, w io.Writer) error {
	show := a.newProgress("exported", 0)
	defer show.clear()
	done, skipped := 0, 0
	for r, err := range d.letters.Export(ctx, w, f) {
		if err != nil {
			return d.explain(ctx, err)
		}
		if r.Skipped == nil {
			done++
		} else if skipped++; skipped <= maxReported {
			show.clear()
			fmt.Fprintf(a.stderr, "natsctl: skipped: %s\n", onLine(r.Skipped.Error(), 0))
		}
		show.update(done, skipped)
	}
	show.clear()
	fmt.Fprintf(a.stderr, "natsctl: %s exported, %d skipped\n", count(done, "event"), skipped)
	if skipped > 0 {
		return coded(exitError, "%s of %d skipped", count(skipped, "dead letter"), skipped+done)
	}
	return nil
}
