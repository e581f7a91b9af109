package testserver

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

const (
	loopback = "127.0.0.1"

	// Ports stay below 32768, where Linux and most others begin to hand out
	// ports to outgoing connections: one from there may be taken by anybody
	// while the server that owns it restarts.
	firstPort = 10000
	lastPort  = 32767
)

// reservePort picks a free TCP port on loopback that stays reserved until the
// test ends, restarts included. The reservation is a UDP socket on the same
// number: it does not stand in the way of the TCP listener, every test process
// sees it, and the system drops it if the process dies.
func reservePort(tb testing.TB) int {
	tb.Helper()
	var last error
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1) //nolint:gosec // G404: a port is no secret
		hold, err := tryPort(port)
		if err != nil {
			last = err
			continue
		}
		tb.Cleanup(func() {
			if err := hold.Close(); err != nil {
				tb.Errorf("release port %d: %v", port, err)
			}
		})
		return port
	}
	tb.Fatalf("testserver: no free port on %s between %d and %d: %v", loopback, firstPort, lastPort, last)
	return 0
}

func tryPort(port int) (net.PacketConn, error) {
	addr := net.JoinHostPort(loopback, strconv.Itoa(port))
	hold, err := net.ListenPacket("udp4", addr)
	if err != nil {
		return nil, fmt.Errorf("reserve port: %w", err)
	}
	probe, err := net.Listen("tcp4", addr)
	if err == nil {
		err = probe.Close()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("probe port: %w", err), hold.Close())
	}
	return hold, nil
}
