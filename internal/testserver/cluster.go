package testserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// electionTimeout bounds the wait for a leader: an election takes 4 to 9 s
	// after a leader was lost without notice, and may need a second round.
	electionTimeout = 45 * time.Second
	// requestTimeout is for one question to the cluster. While a stream has no
	// leader nobody answers, so it is short and the question is asked again.
	requestTimeout = time.Second
	// clusterSize is the least that survives the loss of one server.
	clusterSize = 3
)

// Cluster is three servers in this process, joined by routes on loopback. One
// of them stopped by [Server.Shutdown] hands its leaderships over first; for a
// loss without notice use [StartChildCluster].
type Cluster struct {
	Peers
	Servers []*Server
}

// ChildCluster is three servers, each in a process of its own.
type ChildCluster struct {
	Peers
	Children []*Child
}

// Peers is what clients see of a cluster. It is safe for concurrent use.
type Peers struct {
	tb     testing.TB
	names  []string
	urls   []string
	client []nats.Option
	admin  *nats.Conn
	js     jetstream.JetStream

	clients *clients // those of every server
}

// StartCluster runs a cluster of n servers, 3 if n is 0, until the test ends.
// It returns when a stream of n replicas can be made, after about a second.
func StartCluster(tb testing.TB, n int, opts ...Option) *Cluster {
	tb.Helper()
	c := &Cluster{}
	sets := clusterSettings(tb, n, opts)
	for _, set := range sets {
		c.Servers = append(c.Servers, startServer(tb, set, set.Name))
	}
	c.connect(tb, sets)
	return c
}

// StartChildCluster is [StartCluster] with a child process for each server.
func StartChildCluster(tb testing.TB, n int, opts ...Option) *ChildCluster {
	tb.Helper()
	c := &ChildCluster{}
	sets := clusterSettings(tb, n, opts)
	for _, set := range sets {
		child := newChild(tb, set, set.Name)
		child.start(tb)
		c.Children = append(c.Children, child)
	}
	c.connect(tb, sets)
	return c
}

// clusterSettings are one server's each; the servers know each other's routes
// from the start, for their ports are fixed.
func clusterSettings(tb testing.TB, n int, opts []Option) []settings {
	tb.Helper()
	if n == 0 {
		n = clusterSize
	}
	sets := make([]settings, n)
	var routes []string
	for i := range sets {
		sets[i] = newSettings(opts)
		sets[i].StoreDir = ""
		sets[i].clients = sets[0].clients
		sets[i].Name = "n" + strconv.Itoa(i+1)
		sets[i].ClusterName = "testserver"
		sets[i].Port = reservePort(tb)
		sets[i].ClusterPort = reservePort(tb)
		routes = append(routes, portURL(sets[i].ClusterPort))
	}
	for i := range sets {
		sets[i].Routes = routes
	}
	return sets
}

func (p *Peers) connect(tb testing.TB, sets []settings) {
	tb.Helper()
	p.tb = tb
	for _, set := range sets {
		p.names = append(p.names, set.Name)
		p.urls = append(p.urls, portURL(set.Port))
	}
	p.client, p.clients = sets[0].client, sets[0].clients
	// Short pings: the server at the other end may be paused.
	p.admin = p.Connect(tb, nats.PingInterval(500*time.Millisecond), nats.MaxPingsOutstanding(2))
	p.js = newJetStream(tb, p.admin)
	Eventually(tb, electionTimeout, p.probe, "cluster ready")
}

// probe makes and deletes a stream on all servers, which is the one sure sign
// that all of them have joined and agree on a leader.
func (p *Peers) probe() error {
	ctx, cancel := context.WithTimeout(p.tb.Context(), requestTimeout)
	defer cancel()
	const name = "TESTSERVER_PROBE"
	_, err := p.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Storage: jetstream.MemoryStorage, Replicas: len(p.names),
	})
	if err != nil {
		return err
	}
	return p.js.DeleteStream(ctx, name)
}

// URL is the address of all servers, as nats.Connect takes it.
func (p *Peers) URL() string { return strings.Join(p.urls, ",") }

// Connect opens a connection to any of the servers, closed when the test ends.
// It reconnects for ever, every 20 ms, unless the options say otherwise.
func (p *Peers) Connect(tb testing.TB, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	return p.clients.dial(tb, p.URL(), p.client, opts)
}

// JetStream opens a connection of its own and returns JetStream on it.
func (p *Peers) JetStream(tb testing.TB, opts ...nats.Option) jetstream.JetStream {
	tb.Helper()
	return newJetStream(tb, p.Connect(tb, opts...))
}

// Leader waits until stream has a leader, and returns its index in Servers or
// Children.
func (p *Peers) Leader(stream string) int {
	p.tb.Helper()
	var leader int
	Eventually(p.tb, electionTimeout, func() (err error) {
		leader, err = p.leader(stream)
		return err
	}, "leader of %s", stream)
	return leader
}

func (p *Peers) leader(stream string) (int, error) {
	info, err := p.cluster(stream)
	if err != nil {
		return 0, err
	}
	i := slices.Index(p.names, info.Leader)
	if i < 0 {
		return 0, fmt.Errorf("led by %q", info.Leader)
	}
	return i, nil
}

func (p *Peers) cluster(stream string) (*jetstream.ClusterInfo, error) {
	ctx, cancel := context.WithTimeout(p.tb.Context(), requestTimeout)
	defer cancel()
	s, err := p.js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	info := s.CachedInfo().Cluster
	if info == nil {
		return nil, errors.New("the answer names no cluster")
	}
	return info, nil
}

// StepDown makes the leader of stream give up, and waits until another server
// leads. It returns the index of that one.
func (p *Peers) StepDown(stream string) int {
	p.tb.Helper()
	was := p.Leader(stream)
	Eventually(p.tb, electionTimeout, func() error {
		now, err := p.leader(stream)
		switch {
		case err != nil:
			return err
		case now != was:
			return nil
		}
		if err := p.stepDown(stream); err != nil {
			return err
		}
		return fmt.Errorf("%s still leads", p.names[now])
	}, "another leader of %s", stream)
	return p.Leader(stream)
}

func (p *Peers) stepDown(stream string) error {
	ctx, cancel := context.WithTimeout(p.tb.Context(), requestTimeout)
	defer cancel()
	msg, err := p.admin.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil)
	if err != nil {
		return err
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return err
	}
	if answer.Error != nil {
		return answer.Error
	}
	return nil
}

// WaitCurrent waits until every replica of stream is online and has caught up,
// such as after a restart.
func (p *Peers) WaitCurrent(stream string) {
	p.tb.Helper()
	Eventually(p.tb, electionTimeout, func() error {
		info, err := p.cluster(stream)
		if err != nil {
			return err
		}
		if info.Leader == "" {
			return errors.New("no leader")
		}
		for _, r := range info.Replicas {
			if !r.Current || r.Offline {
				return fmt.Errorf("%s lags by %d, offline: %t", r.Name, r.Lag, r.Offline)
			}
		}
		return nil
	}, "replicas of %s current", stream)
}
