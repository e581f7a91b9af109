package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/jsm.go/natscontext"
	"github.com/spf13/cobra"

	"github.com/agner-go/agner/internal/stream"
)

const completionHelp = `Print the completion script of a shell. It completes commands and flags, and
asks the server, for a moment, for services, endpoints, instances and types.

  bash        source <(natsctl completion bash)
  zsh         source <(natsctl completion zsh)
  fish        natsctl completion fish | source
  powershell  natsctl completion powershell | Out-String | Invoke-Expression`

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "completion bash|zsh|fish|powershell",
		Short:     "Print the completion script of a shell",
		Long:      completionHelp,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			default:
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			}
		},
	}
}

// completionTime bounds what a key press may cost.
const completionTime = 700 * time.Millisecond

// live completes from the server; without one there is nothing to complete.
func (a *app) live(cmd *cobra.Command, names func(ctx context.Context, s *session) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionTime)
	defer cancel()
	a.connection.timeout = completionTime
	s, err := a.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer s.Close()
	found, err := names(ctx, s)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeService(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.live(cmd, func(ctx context.Context, s *session) ([]string, error) {
		found, err := s.discover(ctx, "", nil)
		names := map[string]bool{}
		for _, i := range found {
			names[i.Service] = true
		}
		return sortedKeys(names), err
	})
}

func (a *app) completeEndpoint(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.live(cmd, func(ctx context.Context, s *session) ([]string, error) {
		found, err := s.discover(ctx, "", nil)
		names := map[string]bool{}
		for _, i := range found {
			for _, e := range i.Endpoints {
				names[i.Service+"."+e.Name] = true
			}
		}
		return sortedKeys(names), err
	})
}

func (a *app) completeInstance(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	name := ""
	if len(args) > 0 {
		name, _, _ = strings.Cut(args[0], ".")
	}
	return a.live(cmd, func(ctx context.Context, s *session) ([]string, error) {
		found, err := s.discover(ctx, name, nil)
		return sortedKeys(found.instances()), err
	})
}

// completeType offers the types that somebody subscribes to, from the metadata
// of the durables: the types that were published stand in subjects, one for
// each key, which are too many to ask for.
func (a *app) completeType(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if cmd.Name() == "publish" && len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.live(cmd, func(ctx context.Context, s *session) ([]string, error) {
		events, err := s.js.Stream(ctx, s.ns.Stream(stream.EventsName))
		if err != nil {
			return nil, fmt.Errorf("complete types: %w", err)
		}
		types := map[string]bool{}
		durables := events.ListConsumers(ctx)
		for d := range durables.Info() {
			if typ := d.Config.Metadata["agner.type"]; typ != "" {
				types[typ] = true
			}
		}
		return sortedKeys(types), durables.Err()
	})
}

func (a *app) completeContext(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return natscontext.KnownContexts(), cobra.ShellCompDirectiveNoFileComp
}
