package testserver_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/testserver"
)

func makeReplicated(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
}

// publishTen stores ten messages, once each, whatever happens to the servers
// meanwhile.
func publishTen(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	for range 10 {
		id := jetstream.WithMsgID(nats.NewInbox())
		testserver.Eventually(t, 30*time.Second, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := js.Publish(ctx, "events.a", nil, id)
			return err
		}, "publish")
	}
}

func TestClusterElectsAndStepsDown(t *testing.T) {
	t.Parallel()
	began := time.Now()
	c := testserver.StartCluster(t, 0)
	t.Logf("ready in %s", time.Since(began))
	js := c.JetStream(t)
	makeReplicated(t, js)
	publishTen(t, js)

	if n := len(c.Servers[0].Connect(t).DiscoveredServers()); n == 0 {
		t.Error("a client of the cluster learns of no other server")
	}
	if others := testserver.StartProxy(t, c.Servers[0].URL()).Connect(t).DiscoveredServers(); len(others) != 0 {
		t.Errorf("a client of the proxy learns of %v", others)
	}

	first := c.Leader("EVENTS")
	began = time.Now()
	second := c.StepDown("EVENTS")
	t.Logf("stepped down in %s", time.Since(began))
	if first == second {
		t.Errorf("server %d leads before and after", first)
	}

	c.Servers[second].Shutdown()
	if third := c.Leader("EVENTS"); third == second {
		t.Errorf("server %d leads while it is down", third)
	}
	publishTen(t, js)
	c.Servers[second].Restart(t)
	c.WaitCurrent("EVENTS")
	requireMsgs(t, js, 20)
}

// TestChildClusterSurvivesAKill kills a follower. With AGNER_LONG set it kills
// the leader, after which an election takes 4 to 9 s.
func TestChildClusterSurvivesAKill(t *testing.T) {
	t.Parallel()
	began := time.Now()
	c := testserver.StartChildCluster(t, 0)
	t.Logf("ready in %s", time.Since(began))
	js := c.JetStream(t)
	makeReplicated(t, js)
	publishTen(t, js)

	leader := c.Leader("EVENTS")
	killed := (leader + 1) % len(c.Children)
	if os.Getenv("AGNER_LONG") != "" {
		killed = leader
	}
	began = time.Now()
	c.Children[killed].Kill()
	if now := c.Leader("EVENTS"); now == killed {
		t.Errorf("server %d leads though it was killed", now)
	}
	t.Logf("a leader after %s", time.Since(began))
	publishTen(t, js)
	c.Children[killed].Restart(t)
	c.WaitCurrent("EVENTS")
	requireMsgs(t, js, 20)
}
