// Package service runs one instance of a service: it handles events, answers
// calls, and makes them.
package service
