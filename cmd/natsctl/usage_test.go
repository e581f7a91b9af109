package main

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
)

// natsctl runs the program in this process, with an environment of its own.
func natsctl(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	a := &app{
		stdin: strings.NewReader(""), stdout: &out, stderr: &errOut,
		getenv: func(name string) string { return env[name] },
	}
	code = a.execute(t.Context(), args)
	return code, out.String(), errOut.String()
}

// What is wrong with a command line is said on standard error, with the way to
// the help, and before anything is connected to.
func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, says string }{
		{"bogus", `unknown command "bogus"`},
		{"publsh a.b", "publish"}, // a near miss is named
		{"tail --bogus", "unknown flag: --bogus"},
		{"tail extra", `unknown command "extra"`},
		{"-o yaml tail", `"yaml" is none of table, json, jsonl`},
		{"tail --count -1", "less than 0"},
		{"tail --timeout 0s", "must be more than 0"},
		{"tail --namespace A", "namespace"},
		{"tail --since yesterday", "no duration"},
		{"tail --since 2999-01-01T00:00:00Z", "still to come"},
		{"call", "SERVICE.ENDPOINT"},
		{"call billing.quote {} {}", "quote it"},
		{"call billing.quote {", "is not JSON"},
		{"call billing.quote --all --instance b1", "none of the others can be"},
		{"services a b", "at most one SERVICE"},
		{"completion tcsh", `invalid argument "tcsh"`},
		{"publish --data 1", "needs a TYPE"},
		{"publish a b", "at most one TYPE"},
		{"publish a.b --id x", "--id is for one event"},
		{"publish a.b --data 1 --file x", "none of the others can be"},
		{"publish a.b --data {", "is not JSON"},
		{"dlq bogus", "no such command"},
		{"dlq show", "the SEQ of one letter"},
		{"dlq show x", "no sequence of a dead letter"},
		{"dlq ls --since yesterday", "how long ago"},
		{"dlq ls --summary --limit 5", "none of the others can be"},
		{"dlq replay", "which ones?"},
		{"dlq replay --all --key k", "one or the other"},
		{"dlq replay 1 --key k", "one or the other"},
		{"dlq discard", "which ones?"},
		{"dlq discard 1 --dry-run --yes", "none of the others can be"},
		{"dev --port 70000", "not between 0 and 65535"},
		{"dev --port x", "--port"},
		{"dev --server nats://127.0.0.1:1", "dev starts a server of its own"},
		{"demo --creds x", "demo starts a server of its own"},
		{"demo extra", `unknown command "extra"`},
	} {
		t.Run(c.line, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := natsctl(t, nil, strings.Fields(c.line)...)
			if code != exitUsage || stdout != "" || !strings.Contains(stderr, c.says) ||
				!regexp.MustCompile(`(?m)^usage: natsctl`).MatchString(stderr) || !strings.Contains(stderr, "--help") {
				t.Errorf("exit code %d, standard output %q, standard error:\n%s\nwant code 2 and %q", code, stdout, stderr, c.says)
			}
		})
	}
}

func TestUsageErrorsOfTheEnvironment(t *testing.T) {
	t.Parallel()
	code, _, stderr := natsctl(t, map[string]string{"NATS_TIMEOUT": "soon"}, "tail")
	if code != exitUsage || !strings.Contains(stderr, "NATS_TIMEOUT") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// Help is what was asked for: on standard output, and good.
func TestHelp(t *testing.T) {
	t.Parallel()
	for line, says := range map[string]string{
		"":                      "Start here:",
		"--help":                "4  no server, nobody there, or no answer in time",
		"help tail":             "--since",
		"tail --help":           "--since",
		"--version":             "natsctl version",
		"completion bash":       "__start_natsctl",
		"completion zsh":        "#compdef natsctl",
		"completion fish":       "complete -c natsctl",
		"completion powershell": "Register-ArgumentCompleter",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := natsctl(t, nil, strings.Fields(line)...)
			if code != exitOK || stderr != "" || !strings.Contains(stdout, says) {
				t.Errorf("exit code %d, standard error %q, standard output without %q:\n%s", code, stderr, says, stdout)
			}
		})
	}
}

// Nothing in the help speaks of the command that is not for people.
func TestHelpHidesTheInstance(t *testing.T) {
	t.Parallel()
	if _, stdout, _ := natsctl(t, nil); strings.Contains(stdout, demoInstance) {
		t.Errorf("help shows %s", demoInstance)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, exitOK},
		{context.Canceled, exitError},
		{context.DeadlineExceeded, exitNoAnswer},
		{usagef("wrong"), exitUsage},
		{coded(exitUnhealthy, "lost: %w", context.DeadlineExceeded), exitUnhealthy},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("exitCode(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

func TestOnLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		most int
		want string
	}{
		{"plain", 0, "plain"},
		{"a\nb\tc", 0, "a b c"},
		{"\x1b[2Jx\x00\u202e", 0, "\uFFFD[2Jx\uFFFD\uFFFD"},
		{"\xff", 0, "\uFFFD"},
		{"zürich", 3, "zür…"},
		{"abc", 3, "abc"},
	} {
		if got := onLine(c.in, c.most); got != c.want {
			t.Errorf("onLine(%q, %d) = %q, want %q", c.in, c.most, got, c.want)
		}
	}
}
