package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const docsFile = "../../docs/natsctl.md"

// The help texts in the documentation are those of the program. UPDATE_DOCS=1
// writes them.
func TestDocsHoldTheHelp(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- natsctl ([a-z ]+) --help -->\n```text\n(.*?)```")
	described := map[string]bool{}
	updated := block.ReplaceAllStringFunc(string(content), func(found string) string {
		name := block.FindStringSubmatch(found)[1]
		described[name] = true
		return "<!-- natsctl " + name + " --help -->\n```text\n" + help(t, name) + "```"
	})
	if updated != string(content) {
		if os.Getenv("UPDATE_DOCS") == "" {
			t.Errorf("%s holds other help texts than the program: UPDATE_DOCS=1 go test ./cmd/natsctl -run Docs", docsFile)
		} else if err := os.WriteFile(docsFile, []byte(updated), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range (&app{}).root().Commands() {
		if cmd.IsAvailableCommand() && !described[cmd.Name()] {
			t.Errorf("%s says nothing of natsctl %s", docsFile, cmd.Name())
		}
	}
}

func help(t *testing.T, name string) string {
	t.Helper()
	code, out, errOut := natsctl(t, nil, append(strings.Fields(name), "--help")...)
	if code != exitOK {
		t.Fatalf("natsctl %s --help: exit code %d: %s", name, code, errOut)
	}
	return out
}

// Each command and flag says what it is, and the exit codes and connection
// flags stand in the documentation.
func TestEverythingIsDescribed(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	root := (&app{}).root()
	for _, line := range regexp.MustCompile(`--[a-z-]+`).FindAllString(root.PersistentFlags().FlagUsages(), -1) {
		if !bytes.Contains(content, []byte(line)) && line != "--output" {
			t.Errorf("%s says nothing of the flag %s", docsFile, line)
		}
	}
	for _, cmd := range append(root.Commands(), root) {
		if cmd.IsAvailableCommand() || cmd == root {
			checkDescribed(t, cmd)
		}
	}
}

func checkDescribed(t *testing.T, cmd *cobra.Command) {
	t.Helper()
	if cmd.Short == "" || cmd.Long == "" && cmd.Name() != "help" {
		t.Errorf("%s: no short or long help", cmd.CommandPath())
	}
	for _, line := range strings.Split(cmd.Long, "\n") {
		if len(line) > 82 {
			t.Errorf("%s: line of help is %d wide: %s", cmd.CommandPath(), len(line), line)
		}
	}
}
