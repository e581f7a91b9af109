package testserver

import (
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Option changes how a server is started.
type Option func(*settings)

// settings is what every kind of server of this package is started from. The
// exported fields travel to a child process as JSON.
type settings struct {
	Name         string
	Port         int
	StoreDir     string
	ClusterName  string        `json:",omitempty"`
	ClusterPort  int           `json:",omitempty"`
	Routes       []string      `json:",omitempty"`
	SyncAlways   bool          `json:",omitempty"`
	SyncInterval time.Duration `json:",omitempty"`
	Conf         string        `json:",omitempty"`

	listen  bool
	options func(*server.Options)
	client  []nats.Option
	clients *clients
}

func newSettings(opts []Option) settings {
	s := settings{clients: &clients{}}
	for _, o := range opts {
		o(&s)
	}
	return s
}

// Listen gives an embedded server a socket on loopback, so that [Server.URL]
// works. Clusters and child processes always have one.
func Listen() Option { return func(s *settings) { s.listen = true } }

// StoreDir keeps the store in dir instead of a directory of the test's own.
// It has no meaning for a cluster.
func StoreDir(dir string) Option { return func(s *settings) { s.StoreDir = dir } }

// SyncAlways makes the server write to the disk before it acknowledges.
func SyncAlways() Option { return func(s *settings) { s.SyncAlways = true } }

// Conf adds text in nats-server's configuration language: accounts, users,
// permissions, limits. What it sets overrides the settings of this package, so
// a jetstream block, if any, must repeat store_dir. Use [Client] for the
// credentials that the connections of this package then need.
func Conf(text string) Option {
	return func(s *settings) { s.Conf += text + "\n" }
}

// Options lets f change the upstream options last. A child process is started
// from data alone, so there it fails the test: use [Conf].
func Options(f func(*server.Options)) Option { return func(s *settings) { s.options = f } }

// Client sets options for every connection that this package makes, such as
// the credentials of a server with users.
func Client(opts ...nats.Option) Option {
	return func(s *settings) { s.client = append(s.client, opts...) }
}

// apply writes the settings into the upstream options.
func (s settings) apply(o *server.Options) error {
	if s.ClusterName != "" {
		o.Cluster.Name = s.ClusterName
		o.Cluster.Host = loopback
		o.Cluster.Port = s.ClusterPort
		for _, r := range s.Routes {
			o.Routes = append(o.Routes, server.RoutesFromStr(r)...)
		}
	}
	if s.Conf != "" {
		if err := o.ProcessConfigString(s.Conf); err != nil {
			return fmt.Errorf("testserver.Conf: %w", err)
		}
	}
	if s.options != nil {
		s.options(o)
	}
	return nil
}
