package testserver_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func makeReplicated(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
}

// publish stores n messages, once each, whatever happens to the servers
// meanwhile.
func publish(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	for range n {
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
	publish(t, js, 10)

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
	publish(t, js, 10)
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
	publish(t, js, 10)

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
	publish(t, js, 10)
	c.Children[killed].Restart(t)
	c.WaitCurrent("EVENTS")
	requireMsgs(t, js, 20)
}
