package service

import (
	"fmt"
	"strings"
)

// replyGuard says which reply subjects get a reply. A caller chooses that
// subject freely, and the service publishes there with the service's own
// rights: without a guard, an empty reply or `{}` to
// `$JS.API.STREAM.DELETE.ORDERS` deletes a stream, and any reply to an event's
// subject forges an event (P9 of the design).
type replyGuard []string

// maxReply bounds what is kept of a reply subject.
const maxReply = 256

func newReplyGuard(prefixes []string) (replyGuard, error) {
	if len(prefixes) == 0 {
		return replyGuard{"_INBOX.", "_INBOX_"}, nil
	}
	for _, p := range prefixes {
		if p == "" || p[0] == '$' || strings.ContainsAny(p, " *>\t\r\n") {
			return nil, fmt.Errorf("reply prefix %.60q must not be empty, begin with '$' or hold a wildcard: %w", p, ErrConfig)
		}
	}
	return append(replyGuard(nil), prefixes...), nil
}

// allows tells whether a reply may go to the subject.
func (g replyGuard) allows(reply string) bool {
	if len(reply) > maxReply || strings.ContainsAny(reply, "*>") {
		return false
	}
	for _, p := range g {
		if strings.HasPrefix(reply, p) {
			return true
		}
	}
	return false
}
