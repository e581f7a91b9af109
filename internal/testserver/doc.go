// Package testserver gives tests a real nats-server with JetStream, and the
// faults that a real one has. There is no fake among them: what a test sees here
// is what the broker does.
//
//	kind                  starts in  for
//	[Start]               7 ms       nearly every test: embedded, no socket
//	[Bubble]              30 ms      fake time: ack waits, backoff, expiry
//	[StartChild]          30 ms      SIGKILL, SIGTERM, SIGSTOP, restart on the same store
//	[StartCluster]        1.2 s      three servers: replicas, step-down
//	[StartChildCluster]   1.3 s      loss of a server without notice
//	[StartProxy]          at once    lost acks, cut connections, partitions
//
// Each package that uses it has one line for TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }
//
// [Main] serves the child processes, which are the test binary again, and fails
// the package if a goroutine outlives its tests. A test then reads:
//
//	func TestAckIsLost(t *testing.T) {
//		s := testserver.Start(t, testserver.Listen())
//		p := testserver.StartProxy(t, s.URL())
//		p.Inject(testserver.Fault{Match: testserver.Answered("events.>"), Nth: 3})
//		js := p.JetStream(t)
//		… the third publish is stored, and its ack never comes
//	}
//
// Everything ends with the test that started it, in the reverse order, and
// leaves no process, port or file behind, nor a goroutine but the one that [Main]
// names. The log of a server is
// shown only when the test has failed. Ports are below the range that systems
// give to outgoing connections, and stay reserved while a server is down.
//
// [Eventually] is the one way to wait for a condition.
//
// It is not for use outside of tests: for that see internal/embedded.
package testserver
