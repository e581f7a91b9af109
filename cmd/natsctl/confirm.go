package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"
)

// confirm asks on a terminal whether to go on. Without a terminal nobody can
// answer, so the command line must have said so.
func (a *app) confirm(ctx context.Context, yes bool, question string) (bool, error) {
	if yes {
		return true, nil
	}
	if !isTerminal(a.stdin) || !isTerminal(a.stderr) {
		return false, usagef("nobody is there to confirm this: add --yes, or look at what it would do with --dry-run")
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.stdin).ReadString('\n') // what cannot be read is no yes
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case s := <-answer:
		return s == "y" || s == "yes", nil
	}
}
