package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// app is one run of natsctl: its streams, environment and global flags.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string

	connection connection
	format     format

	// began says that the command line was understood: errors before that are
	// errors of usage.
	began bool

	// refused is the first permission violation that the server told.
	refused atomic.Pointer[error]
}

const rootHelp = `natsctl runs, watches and drives services built on Agner.

Start here:
  natsctl demo    a fleet on an embedded server: see it work, fail and heal
  natsctl dev     an embedded NATS server with JetStream, for development

With -o json or -o jsonl every command prints for machines. Streams, consumers,
buckets and accounts are the business of the nats tool.

Connections: a flag wins over the environment (NATS_URL, NATS_CREDS, ...), which
wins over the context of the nats tool (--context, NATS_CONTEXT, or the selected
one), which wins over nats://127.0.0.1:4222. A server named by --server or
NATS_URL is not given the credentials of a context that was not named with it.

Exit codes:
  0  done
  1  failed
  2  the command line is wrong
  3  what was named does not exist
  4  no server, nobody there, or no answer in time
  5  unhealthy: a check failed`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "natsctl",
		Short:         "Run, watch and drive services built on Agner",
		Long:          rootHelp,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	a.format = formatTable
	flags := root.PersistentFlags()
	flags.SortFlags = false
	root.Flags().SortFlags = false
	flags.VarP(&a.format, "output", "o", "what to print: `table|json|jsonl`")
	a.connection.addFlags(flags)
	root.AddGroup(
		&cobra.Group{ID: groupServer, Title: "A server of one's own:"},
		&cobra.Group{ID: groupEvents, Title: "Events:"},
		&cobra.Group{ID: groupServices, Title: "Services:"},
	)
	root.AddCommand(
		a.demoCommand(), a.demoInstanceCommand(), a.devCommand(),
		a.publishCommand(), a.tailCommand(), a.groupCommand(), a.scheduleCommand(), a.dlqCommand(),
		a.callCommand(), a.servicesCommand(), a.applyCommand(),
		a.treeCommand(), a.inspectCommand(),
		a.pauseCommand(), a.resumeCommand(), a.drainCommand(), a.restartCommand(),
		a.permsCommand(), a.logCommand(),
		a.completionCommand(),
	)
	root.SetUsageTemplate(usageTemplate)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(
		[]string{formatTable, formatJSON, formatJSONL}, cobra.ShellCompDirectiveNoFileComp)) // fails for unknown flags only
	_ = root.RegisterFlagCompletionFunc("context", a.completeContext) // as above
	return root
}

// Groups of commands in the help text.
const (
	groupServer   = "server"
	groupEvents   = "events"
	groupServices = "services"
)

// usageTemplate is cobra's, less the global flags in the help of each command:
// they stand once, in that of natsctl itself.
const usageTemplate = `Usage:{{if .Runnable}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} [command]{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$cmds := .Commands}}{{range $group := .Groups}}

{{.Title}}{{range $cmds}}{{if (and (eq .GroupID $group.ID) .IsAvailableCommand)}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}

Other:{{range $cmds}}{{if (and (eq .GroupID "") (or .IsAvailableCommand (eq .Name "help")))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasParent}}

Global flags, -o and --server among them: natsctl --help{{else}}

Help for a command: natsctl [command] --help{{end}}
`

// between checks the number of arguments; what says which they should be.
func between(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usagef("%s takes %s, not %s", cmd.Name(), what, count(len(args), "argument"))
		}
		return nil
	}
}

// run wraps the body of a command, which begins when its arguments and flags
// have been understood.
func (a *app) run(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.began = true
		return f(cmd.Context(), args)
	}
}

// standalone wraps the body of a command that connects to no server of others:
// a flag that names one would be ignored, so it is refused.
func (a *app) standalone(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	run := a.run(f)
	return func(cmd *cobra.Command, args []string) error {
		var err error
		cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) {
			if f.Changed && f.Name != "output" {
				err = usagef("--%s means nothing here: %s starts a server of its own", f.Name, cmd.Name())
			}
		})
		if err != nil {
			return err
		}
		return run(cmd, args)
	}
}

func (a *app) execute(ctx context.Context, args []string) int {
	root := a.root() //nolint:contextcheck // cobra hands the context to the command that runs
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var c *codedError
	if !a.began && !errors.As(err, &c) {
		err = &codedError{code: exitUsage, err: err}
	}
	err = a.permission(err)
	fmt.Fprintf(a.stderr, "natsctl: %s\n", onLine(err.Error(), 0))
	code := exitCode(err)
	if code == exitUsage {
		fmt.Fprintf(a.stderr, "usage: %s\nmore: %s --help\n", cmd.UseLine(), cmd.CommandPath())
	}
	return code
}

// version is that of the module, as the go command recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
