package main

import (
	"os"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// readme FILE: every line of the demo's story stands in the README, figures and
// who did what apart. This package's tests run where the README is two up.
func cmdReadme(ts *testscript.TestScript, _ bool, args []string) {
	content, err := os.ReadFile("../../README.md")
	ts.Check(err)
	shown := map[string]bool{}
	for _, line := range strings.Split(string(content), "\n") {
		shown[timeless(line)] = true
	}
	for _, line := range strings.Split(ts.ReadFile(args[0]), "\n") {
		if want := timeless(line); !shown[want] {
			ts.Fatalf("the README does not show this line of the demo, as %q: %s", want, line)
		}
	}
}

// timeless is a line without what differs from run to run.
func timeless(line string) string {
	for _, r := range []struct{ find, put string }{
		{`go run \./cmd/natsctl`, "natsctl"},
		{`store +.*, removed`, "store, removed"},
		{`billing handles them: .*`, "billing handles them"},
		{`^ +billing-\d+ handles it`, "billing handles it"},
		{`succeeds on .*`, "succeeds"},
		{`^ +mailer .*`, "mailer"},
		{`"instance":"billing-\d+"`, "instance"},
		{`orders?`, "order"},
		{`\d+(\.\d+)?`, "N"},
		{`\s+`, " "},
	} {
		line = regexp.MustCompile(r.find).ReplaceAllString(line, r.put)
	}
	return strings.TrimSpace(line)
}
