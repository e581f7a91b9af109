package chaos_test

import (
	"testing"
	"time"

	"github.com/agner-go/agner/internal/chaos"
)

// TestInbox is the machine in its smallest form: one fault of each of three kinds.
// `make inbox-chaos` is the large one.
func TestInbox(t *testing.T) {
	t.Parallel()
	r := chaos.RunInbox(t, chaos.InboxConfig{
		Messages: 2000, Keys: 100, Workers: 2, Senders: 32, Events: 4, Seed: 1,
		Faults: 3, Kinds: []chaos.Kind{chaos.KillWorker, chaos.PauseWorker, chaos.LeaveWorker},
		Lease: time.Second, Gap: 300 * time.Millisecond,
	})
	if err := r.Write(t.Output()); err != nil {
		t.Error(err)
	}
	if !r.OK() {
		t.Error("the inbox broke its promise")
	}
	if r.Messages != 2000 || r.Faults != 3 || r.Outputs == 0 || r.Entities < 90 {
		t.Errorf("%d messages, %d faults, %d outputs, %d entities: the machine did not do its work", r.Messages, r.Faults, r.Outputs, r.Entities)
	}
}
