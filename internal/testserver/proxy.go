package testserver

import (
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Proxy stands between clients and one server, and breaks what passes: whole
// connections ([Proxy.Cut], [Proxy.Refuse]), the flow of bytes ([Proxy.Hold])
// or chosen messages ([Proxy.Inject]). It reads the NATS protocol in plain
// text, not TLS. It hides the other servers of a cluster from its clients. It
// is safe for concurrent use.
type Proxy struct {
	target string
	url    string
	listen net.Listener
	gates  map[Direction]*gate
	wg     sync.WaitGroup

	clients  clients
	requests *requests

	mu      sync.Mutex
	links   map[*link]struct{}
	faults  []*Injected
	refuse  bool
	stopped bool
}

// StartProxy runs a proxy on loopback until the test ends. Target is the URL of
// a server that listens: see [Listen].
func StartProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		tb.Fatalf("testserver: proxy target %q is no URL of one server", target)
	}
	addr := portURL(reservePort(tb))
	l, err := net.Listen("tcp4", addr[len("nats://"):])
	if err != nil {
		tb.Fatalf("testserver: proxy: %v", err)
	}
	p := &Proxy{
		target:   u.Host,
		url:      addr,
		listen:   l,
		gates:    map[Direction]*gate{ToServer: newGate(), ToClient: newGate()},
		requests: newRequests(),
		links:    make(map[*link]struct{}),
	}
	p.wg.Go(p.accept)
	tb.Cleanup(p.stop)
	return p
}

func (p *Proxy) stop() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	_ = p.listen.Close() // accept ends by it
	p.Cut()
	p.wg.Wait()
}

// URL is the address for clients.
func (p *Proxy) URL() string { return p.url }

// Connect opens a connection through the proxy that is closed when the test
// ends. It reconnects for ever, every 20 ms, unless the options say otherwise.
func (p *Proxy) Connect(tb testing.TB, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	return p.clients.dial(tb, p.url, opts)
}

// JetStream opens a connection of its own and returns JetStream on it.
func (p *Proxy) JetStream(tb testing.TB, opts ...nats.Option) jetstream.JetStream {
	tb.Helper()
	return newJetStream(tb, p.Connect(tb, opts...))
}

// Cut closes all connections, and returns how many there were, once those made
// by this package have noticed. Clients may connect again.
func (p *Proxy) Cut() int {
	noticed := p.clients.watch((*nats.Conn).IsConnected)
	defer noticed()
	p.mu.Lock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	p.mu.Unlock()
	for _, l := range links {
		l.close()
	}
	return len(links)
}

// Refuse makes the proxy close new connections at once, until it is called with
// false. Those there are stay.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = on
}

// Hold makes the proxy a black hole: connections stay open and take bytes, and
// nothing comes out. It holds the given directions, or both. What arrives at
// the proxy after Hold has returned waits until Hold(false), which lets it all
// pass as after a healed partition; to lose it, [Proxy.Cut] first.
func (p *Proxy) Hold(on bool, only ...Direction) {
	if len(only) == 0 {
		only = []Direction{ToServer, ToClient}
	}
	for _, d := range only {
		p.gates[d].set(!on)
	}
}

// Inject puts a fault in force until it is removed. Of several faults that hit
// one message, the first injected acts.
func (p *Proxy) Inject(f Fault) *Injected {
	i := &Injected{fault: f, hit: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults[:len(p.faults):len(p.faults)], i)
	return i
}

// decide returns the fault that hits f, if any; each fault counts what it sees.
func (p *Proxy) decide(f Frame) *Injected {
	p.mu.Lock()
	faults := p.faults
	p.mu.Unlock()
	var hit *Injected
	for _, i := range faults {
		if i.strikes(f) && hit == nil {
			hit = i
		}
	}
	if hit != nil {
		hit.struck()
	}
	return hit
}

func (p *Proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

// dialTimeout bounds the way to the server, which is on this machine.
const dialTimeout = 5 * time.Second

func (p *Proxy) serve(client net.Conn) {
	srv, err := net.DialTimeout("tcp4", p.target, dialTimeout)
	if err != nil {
		_ = client.Close() // the server is down, and that is what the client shall see
		return
	}
	l := newLink(p, client, srv)
	if !p.add(l) {
		l.close()
		return
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { l.pump(ToServer) })
	pumps.Go(func() { l.pump(ToClient) })
	pumps.Wait()
	p.remove(l)
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse || p.stopped {
		return false
	}
	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// gate lets pass while it is open.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // closed while the gate is open
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		if !open {
			g.open = make(chan struct{})
		}
	default:
		if open {
			close(g.open)
		}
	}
}

func (g *gate) passable() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}
