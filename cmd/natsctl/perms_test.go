package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/agner-go/agner/internal/permission"
)

const permissionsFile = "../../docs/permissions.md"

// The blocks in the documentation are those that natsctl prints. UPDATE_DOCS=1
// writes them.
func TestDocsHoldThePermissions(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(permissionsFile)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- natsctl (perms [^\n]*) -->\n(```text\n.*?```\n)?")
	shown := map[string]bool{}
	updated := block.ReplaceAllStringFunc(string(content), func(found string) string {
		line := block.FindStringSubmatch(found)[1]
		args := strings.Fields(line)
		code, out, errOut := natsctl(t, nil, args...)
		if code != exitOK {
			t.Fatalf("natsctl %s: exit code %d: %s", line, code, errOut)
		}
		shown[args[1]] = true
		return "<!-- natsctl " + line + " -->\n```text\n" + out + "```\n"
	})
	if updated != string(content) {
		if os.Getenv("UPDATE_DOCS") == "" {
			t.Errorf("%s holds other permissions than natsctl prints: UPDATE_DOCS=1 go test ./cmd/natsctl -run Docs", permissionsFile)
		} else if err := os.WriteFile(permissionsFile, []byte(updated), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, role := range permission.Roles() {
		if !shown[string(role)] {
			t.Errorf("%s does not show %s", permissionsFile, role)
		}
	}
}

func TestPerms(t *testing.T) {
	t.Parallel()
	var got permissions
	code, out, errOut := natsctl(t, nil, "perms", "caller", "--inbox", "web", "--call", "billing,quotes", "-o", "json", "--namespace", "staging")
	if err := json.Unmarshal([]byte(out), &got); code != exitOK || err != nil {
		t.Fatalf("exit code %d: %v, %s", code, err, errOut)
	}
	want := `{"roles":["caller"],"inbox":"web","publish":["staging.rpc.billing.>","staging.rpc.quotes.>"],"subscribe":["_INBOX.web.>"]}`
	if strings.TrimSpace(out) != want {
		t.Errorf("%s, want %s", out, want)
	}
	for name, args := range map[string]string{
		"no role":            "perms --inbox a",
		"unknown role":       "perms king --inbox a",
		"no inbox":           "perms publisher --publish a.b",
		"inbox of two":       "perms publisher --publish a.b --inbox a.b",
		"wildcard inbox":     "perms publisher --publish a.b --inbox *",
		"quote":              `perms publisher --publish a.b --inbox a"b`,
		"no type":            "perms publisher --inbox a",
		"bad type":           "perms publisher --inbox a --publish a..b",
		"bad service":        "perms service --service A",
		"service wildcard":   "perms caller --inbox a --call >",
		"nothing subscribed": "perms group-member --group a",
		"bad subscription":   "perms group-member --group a --subscribe a.>",
		"namespace":          "perms scheduler --inbox a --namespace a.b",
		"callers":            "perms service --service a --callers >",
	} {
		if code, out, errOut := natsctl(t, nil, strings.Fields(args)...); code != exitUsage || out != "" {
			t.Errorf("%s: exit code %d, %s%s", name, code, out, errOut)
		}
	}
}
