package testserver_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/internal/testserver"
)

// rerunEnv is set in a run of this test binary by one of its own tests.
const rerunEnv = "AGNER_TESTSERVER_RERUN"

// rerun prepares a run of one test of this binary.
func rerun(t *testing.T, test string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^"+test+"$")
	// A killed test removes nothing: let it leave its stores where this one does.
	cmd.Env = append(os.Environ(), rerunEnv+"=1", "TMPDIR="+t.TempDir())
	return cmd
}

func TestMainReportsALeak(t *testing.T) {
	t.Parallel()
	if os.Getenv(rerunEnv) != "" {
		go leak(make(chan struct{}))
		return
	}
	out, err := rerun(t, "TestMainReportsALeak").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "goroutines outlive the tests") || !strings.Contains(string(out), "testserver_test.leak") {
		t.Errorf("a leaking package ended with %v and said:\n%s", err, out)
	}
}

func leak(never chan struct{}) { <-never }

func TestChildNeedsMain(t *testing.T) {
	t.Setenv(noMainEnv, "1")
	text, failed := record(t, func(tb testing.TB) {
		tb.Helper()
		testserver.StartChild(tb)
	})
	if !failed || !strings.Contains(text, "call testserver.Main?") {
		t.Errorf("failed: %t, said %q", failed, text)
	}
}

// TestChildDiesWithItsParent kills a test process that has two children, one of
// them paused, which cannot notice anything by itself.
func TestChildDiesWithItsParent(t *testing.T) {
	t.Parallel()
	const mark = "child: "
	if os.Getenv(rerunEnv) != "" {
		awake, paused := testserver.StartChild(t), testserver.StartChild(t)
		paused.Pause()
		fmt.Printf("\n%s%s\n%s%s\n", mark, awake.URL(), mark, paused.URL())
		<-t.Context().Done() // killed before that
		return
	}
	cmd := rerun(t, "TestChildDiesWithItsParent")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var urls []string
	for lines := bufio.NewScanner(out); len(urls) < 2 && lines.Scan(); {
		if url, ok := strings.CutPrefix(lines.Text(), mark); ok {
			urls = append(urls, url)
		}
	}
	if len(urls) != 2 {
		t.Fatalf("found %d children", len(urls))
	}
	nc, err := nats.Connect(urls[0])
	if err != nil {
		t.Fatalf("the child does not run: %v", err)
	}
	nc.Close()

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	for _, url := range urls {
		testserver.Eventually(t, 10*time.Second, func() bool {
			nc, err := nats.Connect(url, nats.Timeout(time.Second))
			if err == nil {
				nc.Close()
			}
			return err != nil && strings.Contains(err.Error(), "no servers available")
		}, "child %s gone", url)
	}
}
