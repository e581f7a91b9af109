package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/testserver"
)

// dlq ls answers within a second where the server filters, in a few where the
// headers of all letters are read, and in bounded memory however many there are.
// AGNER_DLQ_SCALE=100000 is the long form; its time is printed, and judged only
// there, since a loaded machine has another.
func TestDLQScale(t *testing.T) {
	t.Parallel()
	n, fast, slow := 2000, patience, patience
	if v := os.Getenv("AGNER_DLQ_SCALE"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
		fast, slow = time.Second, 10*time.Second
	}
	s := testserver.Start(t, testserver.Listen())
	buryMany(t, s.JetStream(t), n)
	for _, c := range []struct {
		args string
		rows int
		most time.Duration
	}{
		{"", 50, fast},
		{"--group billing", 50, fast},
		{"--type shop.order.placed.v1", 50, fast},
		{"--key o-" + strconv.Itoa(n-1), 1, fast},
		{"--reason exhausted", 50, fast},
		{"--since 1h --group notify", 50, fast},
		{"--reason rejected", 1, slow}, // the last of all: the headers of all are read
		{"--error needle", 1, slow},
		{"--limit 0", n, slow},
		{"--summary", 3, slow},
	} {
		best, peak := time.Hour, 0
		for range 3 {
			var out bytes.Buffer
			cmd := exec.Command("natsctl", append([]string{"dlq", "ls", "-o", "jsonl", "--server", s.URL()}, strings.Fields(c.args)...)...)
			cmd.Stdout = &out
			began := time.Now()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			watched := make(chan int)
			go func() { watched <- peakMemory(cmd.Process.Pid, ended) }()
			err := cmd.Wait()
			best = min(best, time.Since(began))
			close(ended)
			peak = max(peak, <-watched)
			if err != nil {
				t.Fatalf("dlq ls %s: %v", c.args, err)
			}
			if got := bytes.Count(out.Bytes(), []byte("\n")); got != c.rows {
				t.Fatalf("dlq ls %s: %d lines, want %d", c.args, got, c.rows)
			}
		}
		t.Logf("%d letters, dlq ls %-30s %4d ms, %3d MiB", n, c.args, best.Milliseconds(), peak)
		if best > c.most || peak > 128 {
			t.Errorf("dlq ls %s takes %s and %d MiB", c.args, best, peak)
		}
	}
}

// peakMemory reads the most memory that a process has had, in MiB, until it ends. The
// resource usage of a child would not do: it begins with its parent's.
func peakMemory(pid int, ended <-chan struct{}) (most int) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // nothing once it has ended
		for line := range strings.Lines(string(status)) {
			var kib int
			if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
				most = max(most, kib>>10)
			}
		}
		select {
		case <-tick.C:
		case <-ended:
			return most
		}
	}
}

// buryMany stores dead letters with headers as real ones have them, every third
// with a stack; the last one differs from all others.
func buryMany(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	p := &stream.Provisioner{JS: js}
	if err := p.Ensure(t.Context(), stream.Dead("")); err != nil {
		t.Fatal(err)
	}
	body := []byte(`{"order_id":"o-1","note":"` + strings.Repeat("x", 400) + `"}`)
	for i := range n {
		group, reason, text := "billing", "exhausted", "card%20is%20refused"
		if i%2 == 0 {
			group = "notify"
		}
		if i == n-1 {
			reason, text = "rejected", "the%20needle"
		}
		key := "o-" + strconv.Itoa(i)
		h := nats.Header{
			"ce-specversion": {"1.0"}, "ce-type": {"shop.order.placed.v1"}, "ce-source": {"/shop/checkout"}, "ce-id": {"e-" + strconv.Itoa(i)},
			"ce-partitionkey": {key}, "ce-time": {"2026-01-01T00:00:00Z"}, "Content-Type": {"application/json"},
			"traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		}
		for name, value := range map[string]string{
			"Reason": reason, "Error": text, "Attempts": "10", "Round": "0", "Group": group, "Subscription": "orders",
			"Durable": group + "_orders", "Instance": "billing-1", "Stream": "EVENTS", "Sequence": strconv.Itoa(i + 1), "Created": "1",
			"Subject": "events.shop.order.placed.v1." + key, "First": "2026-01-01T00:00:00Z", "Last": "2026-01-01T00:08:00Z",
		} {
			h["Agner-Dead-"+name] = []string{value}
		}
		if i%3 == 0 {
			h["Agner-Dead-Stack"] = []string{strings.Repeat("goroutine%201%20", 80)}
		}
		m := &nats.Msg{Subject: fmt.Sprintf("dead.%s.shop.order.placed.v1.%s", group, key), Header: h, Data: body}
		if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(patience)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(patience):
		t.Fatal("letters were not stored")
	}
}
