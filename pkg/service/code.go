package service

import (
	"errors"
	"fmt"
	"strconv"
)

// Code classifies an [Error]. The set is closed: what is none of these is
// [CodeInternal]. The names and meanings are gRPC's, so that they need no
// explanation; what gRPC has and Agner has no use for is left out.
type Code uint8

const (
	// CodeCanceled: the caller gave up, or closed its connection.
	CodeCanceled Code = iota + 1
	// CodeInvalidArgument: the request can never succeed as it is.
	CodeInvalidArgument
	// CodeDeadlineExceeded: the time ran out, the work may have been done.
	CodeDeadlineExceeded
	// CodeNotFound: what the request names is not there.
	CodeNotFound
	// CodeAlreadyExists: what the request would make is there.
	CodeAlreadyExists
	// CodePermissionDenied: the caller is known and may not.
	CodePermissionDenied
	// CodeUnauthenticated: the caller is not known.
	CodeUnauthenticated
	// CodeResourceExhausted: a quota or a size limit is reached.
	CodeResourceExhausted
	// CodeFailedPrecondition: not in the state that the request needs.
	CodeFailedPrecondition
	// CodeAborted: lost against a concurrent change; the caller may retry from
	// the start.
	CodeAborted
	// CodeUnimplemented: the service does not do that.
	CodeUnimplemented
	// CodeInternal: the service failed; its log says how.
	CodeInternal
	// CodeUnavailable: nobody could take the request now. No handler ran, so a
	// retry is safe; a handler that returns it promises the same.
	CodeUnavailable
)

// ErrCode reports a text that names no [Code].
var ErrCode = errors.New("service: not an error code")

// code is one row of the table of codes: the name, and the number that
// nats.go/micro and its tools show, which is HTTP's nearest.
type code struct {
	name   string
	number string
}

func (c Code) row() code {
	switch c {
	case CodeCanceled:
		return code{"canceled", "499"}
	case CodeInvalidArgument:
		return code{"invalid_argument", "400"}
	case CodeDeadlineExceeded:
		return code{"deadline_exceeded", "504"}
	case CodeNotFound:
		return code{"not_found", "404"}
	case CodeAlreadyExists:
		return code{"already_exists", "409"}
	case CodePermissionDenied:
		return code{"permission_denied", "403"}
	case CodeUnauthenticated:
		return code{"unauthenticated", "401"}
	case CodeResourceExhausted:
		return code{"resource_exhausted", "429"}
	case CodeFailedPrecondition:
		return code{"failed_precondition", "412"}
	case CodeAborted:
		return code{"aborted", "409"}
	case CodeUnimplemented:
		return code{"unimplemented", "501"}
	case CodeInternal:
		return code{"internal", "500"}
	case CodeUnavailable:
		return code{"unavailable", "503"}
	default:
		return code{"code(" + strconv.Itoa(int(c)) + ")", "500"}
	}
}

// String returns the code's name as it stands on the wire, "not_found".
func (c Code) String() string { return c.row().name }

// MarshalText writes the name.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a name; an unknown one gives [ErrCode].
func (c *Code) UnmarshalText(text []byte) error {
	got, ok := codeNamed(string(text))
	if !ok {
		return fmt.Errorf("code %.40q: %w", text, ErrCode)
	}
	*c = got
	return nil
}

func codeNamed(name string) (Code, bool) {
	for c := CodeCanceled; c <= CodeUnavailable; c++ {
		if c.row().name == name {
			return c, true
		}
	}
	return 0, false
}

// codeOnWire reads the code of an error reply: our name if there is one, else
// the number, which is all that other implementations send. Numbers without a
// code of their own fall into the class that HTTP gives them.
func codeOnWire(name, number string) Code {
	if c, ok := codeNamed(name); ok {
		return c
	}
	for c := CodeCanceled; c <= CodeUnavailable; c++ {
		if c.row().number == number {
			return c
		}
	}
	switch {
	case number == "408":
		return CodeDeadlineExceeded
	case len(number) == 3 && number[0] == '4':
		return CodeInvalidArgument
	}
	return CodeInternal
}
