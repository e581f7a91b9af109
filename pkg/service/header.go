package service

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Headers of calls and replies. NATS keeps their case, and so does Agner.
const (
	// HeaderTimeout is how long, in milliseconds from its receipt, a request
	// may take. Relative, so that clocks need not agree.
	HeaderTimeout = "Agner-Timeout"
	// HeaderCorrelation and HeaderCausation carry the chain of events that
	// made a handler call: see [envelope.Cause].
	HeaderCorrelation = "Agner-Correlation-Id"
	HeaderCausation   = "Agner-Causation-Id"
	// HeaderErrorCode is the [Code] of an error reply, by name.
	HeaderErrorCode = "Agner-Error-Code"

	// What nats.go/micro and its tools read.
	headerServiceError     = "Nats-Service-Error"
	headerServiceErrorCode = "Nats-Service-Error-Code"

	// What the server sets on its own answer when nobody is there.
	headerStatus       = "Status"
	statusNoResponders = "503"
)

// maxTimeout bounds what a caller may ask for, far from overflow.
const maxTimeout = 24 * time.Hour

// header returns the first value of a header without a lookup in nil maps and
// without nats.Header's own call.
func header(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// timeoutOnWire writes a duration for HeaderTimeout: whole milliseconds, at
// least one.
func timeoutOnWire(d time.Duration) string {
	return strconv.FormatInt(max(1, int64(d/time.Millisecond)), 10)
}

// parseTimeout reads HeaderTimeout; values beyond a day mean a day.
func parseTimeout(value string) (time.Duration, error) {
	if value == "" || len(value) > 15 {
		return 0, fmt.Errorf("%s %.20q is not a number of milliseconds", HeaderTimeout, value)
	}
	ms, err := strconv.ParseUint(value, 10, 63)
	if err != nil || ms == 0 {
		return 0, fmt.Errorf("%s %.20q is not a positive number of milliseconds", HeaderTimeout, value)
	}
	if ms >= uint64(maxTimeout/time.Millisecond) {
		return maxTimeout, nil
	}
	return time.Duration(ms) * time.Millisecond, nil
}
