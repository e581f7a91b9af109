// Package test holds Agner against programs that know nothing of it: the CNCF
// SDK's NATS binding, a program of bare nats.go written after docs/wire.md, and
// the nats command line. They are oracles; what they disagree in is listed one
// by one (differences_test.go) and in docs/wire.md.
package test
