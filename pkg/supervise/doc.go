// Package supervise runs a tree of children: it starts them in order,
// restarts those that fail, stops them in reverse order each under its own
// timeout, and names what will not stop. It is OTP's supervisor, with what Go
// makes different said openly. It depends on the standard library only.
package supervise
