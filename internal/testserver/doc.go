// Package testserver gives tests a real nats-server: embedded, as a cluster of
// three, in a child process that can be killed, behind a proxy that loses
// messages, or inside a bubble of fake time.
package testserver
