package service

import (
	"fmt"
	"strconv"
	"strings"
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
	// HeaderInstance, with any value on a request, asks that the reply name, in
	// the same header, the instance that sends it.
	HeaderInstance = "Agner-Instance"
	// HeaderAttempt, from 2, marks a request that may have run before. Only an
	// endpoint that is idempotent runs it.
	HeaderAttempt = "Agner-Attempt"
	// HeaderErrorCode is the [Code] of an error reply, by name.
	HeaderErrorCode = "Agner-Error-Code"

	// What nats.go/micro and its tools read.
	headerServiceError     = "Nats-Service-Error"
	headerServiceErrorCode = "Nats-Service-Error-Code"

	// What the server sets on its own answer when nobody is there.
	headerStatus       = "Status"
	statusNoResponders = "503"
)

// anyValue is what our callers put into HeaderInstance.
const anyValue = "?"

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

// timeoutMark leads the short form of HeaderTimeout: the last token of the
// reply subject ends with it and the milliseconds. A header block costs a call
// a tenth of its time on both sides, this costs nothing.
const timeoutMark = '~'

// appendTimeout writes the short form: whole milliseconds, at least one.
func appendTimeout(b []byte, d time.Duration) []byte {
	return strconv.AppendInt(append(b, timeoutMark), max(1, int64(d/time.Millisecond)), 10)
}

// grantedTime reads how long a request may take; 0 if it does not say. The
// header is the caller's word; the short form is trusted to be one only if it
// reads as one, since an inbox may look like anything.
func grantedTime(m *nats.Msg) (time.Duration, error) {
	if t := header(m.Header, HeaderTimeout); t != "" {
		d, err := parseTimeout(t)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", HeaderTimeout, err)
		}
		return d, nil
	}
	i := strings.LastIndexByte(m.Reply, timeoutMark)
	if i < 0 {
		return 0, nil
	}
	d, err := parseTimeout(m.Reply[i+1:])
	if err != nil {
		return 0, nil //nolint:nilerr // not the short form
	}
	return d, nil
}

// parseTimeout reads milliseconds; values beyond a day mean a day.
func parseTimeout(value string) (time.Duration, error) {
	ms, err := strconv.ParseUint(value, 10, 63)
	if err != nil || ms == 0 {
		return 0, fmt.Errorf("%.20q is not a positive number of milliseconds", value)
	}
	return time.Duration(min(ms, uint64(maxTimeout/time.Millisecond))) * time.Millisecond, nil
}
