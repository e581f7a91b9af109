// Package embedded runs a real nats-server with JetStream inside this process.
//
// It serves development and tests: `natsctl dev`, `natsctl demo` and
// internal/testserver are built on it. It is not a way to deploy NATS, and the
// library packages under pkg/ never import it.
//
// [Start] returns once the server accepts connections, and keeps its streams in
// a store directory that only one server at a time may use: a second one gets
// [ErrStoreBusy] instead of corrupting the first. [Server.Shutdown] waits until
// the server has stopped and let go of port and store. One goroutine may outlive
// it by up to 30 s: nats-server 2.15.2 does not interrupt the set-up of a stream's
// source.
//
// Durability is nats-server's own: unless [Config.SyncAlways] is set, an
// acknowledged message survives the end of the process but not a power loss.
package embedded
