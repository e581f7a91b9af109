package inbox

import (
	"errors"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/agner-go/agner/pkg/envelope"
)

// Headers of a question and of its answer.
const (
	// attributeReply is the extension attribute of a question.
	attributeReply = "agnerreply"

	headerAnswer = "Agner-Answer" // "ok", "refused" or "failed"

	answerOK      = "ok"
	answerRefused = "refused"
	answerFailed  = "failed"
)

// maxReply bounds the subject that a question brings.
const maxReply = 256

// replyTo gives the subject to which an answer may go: an inbox, and nothing
// else, because whoever may write to the mailbox would choose where we publish.
func replyTo(a *envelope.Attributes) string {
	to, _ := a.Extension(attributeReply)
	if len(to) > maxReply || !strings.HasPrefix(to, "_INBOX.") && !strings.HasPrefix(to, "_INBOX_") ||
		strings.ContainsAny(to, "*> \t\r\n") || strings.Contains(to, "..") || strings.HasSuffix(to, ".") {
		return ""
	}
	return to
}

// answerTo makes the answer to a question, nil if nobody can be told.
func (e *engine) answerTo(l *letter, res any, err error) *answer {
	to := replyTo(&l.raw.Attributes)
	if to == "" {
		return nil
	}
	m := &nats.Msg{Subject: to, Header: nats.Header{headerAnswer: {answerOK}}}
	if err == nil {
		err = protect(func() (err error) {
			m.Data, err = envelope.JSON{}.Encode(res)
			return err
		})
	}
	if err == nil && len(m.Data) > e.in.maxMessage() {
		err = errors.New("the answer is too large")
	}
	if err != nil {
		var refused *AnswerError
		if errors.As(err, &refused) && refused.Refused {
			m.Header[headerAnswer] = []string{answerRefused}
			m.Data = []byte(refused.Text)
		} else {
			e.log.Warn("question failed", "entity", l.key, "type", l.raw.Type, "sequence", l.seq, "error", err)
			m.Header[headerAnswer] = []string{answerFailed}
			m.Data = []byte("the handler failed; the log of the instance says how")
		}
	}
	return &answer{to: to, m: m}
}

// reply sends an answer. One that is lost shows as a timeout.
func (e *engine) reply(a answer) {
	if err := e.nc.PublishMsg(a.m); err != nil {
		e.log.Warn("answer could not be sent", "error", err)
	}
}
