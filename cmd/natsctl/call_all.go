package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agner-go/agner/pkg/service"
)

// instanceReply is what one instance answered to a call of all.
type instanceReply struct {
	Instance string          `json:"instance"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    *callFailure    `json:"error,omitempty"`
}

// callFailure is the error of one instance.
type callFailure struct {
	Code    service.Code `json:"code"`
	Message string       `json:"message"`
	ID      string       `json:"id,omitempty"`
}

// text is the reply on a line.
func (r instanceReply) text() string {
	if r.Error != nil {
		return onLine(r.Error.Code.String()+": "+r.Error.Message, 0)
	}
	return string(r.Result)
}

// callAll calls an endpoint of each instance and prints a line a reply. Who is
// there is asked first, since only that tells who has not answered.
func (a *app) callAll(ctx context.Context, s *session, client *service.Client, target string, request json.RawMessage) error {
	name, endpoint, _ := strings.Cut(target, ".")
	look, cancel := context.WithTimeout(ctx, min(time.Second, a.connection.timeout))
	found, err := s.discover(look, name, nil)
	cancel()
	if err != nil {
		return err
	}
	missing := found.serving(endpoint)
	opts := []service.CallOption{service.Replies(max(1, len(missing)))}
	var replies []instanceReply
	var failed error
	for r, err := range service.Gather[json.RawMessage](ctx, client, target, request, opts...) {
		var e *service.Error
		switch {
		case err == nil:
			replies = append(replies, instanceReply{Instance: r.Instance, Result: r.Result})
		case r.Instance == "" && len(missing) == 0:
			return a.explainCall(ctx, s, target, "", err)
		case r.Instance == "": // not all came
			failed = err
		case errors.As(err, &e):
			failed = err
			replies = append(replies, instanceReply{
				Instance: r.Instance, Error: &callFailure{Code: e.Code, Message: e.Message, ID: e.ID},
			})
		}
		delete(missing, r.Instance)
	}
	for instance := range missing {
		replies = append(replies, instanceReply{
			Instance: instance, Error: &callFailure{Code: service.CodeDeadlineExceeded, Message: "no answer"},
		})
	}
	return errors.Join(a.printReplies(replies), countFailed(replies, failed))
}

func (a *app) printReplies(replies []instanceReply) error {
	slices.SortFunc(replies, func(x, y instanceReply) int { return cmp.Compare(x.Instance, y.Instance) })
	return list(a.printer(), replies, "INSTANCE\tREPLY", func(r instanceReply) []string { return []string{r.Instance, r.text()} })
}

// countFailed is the error of a call of all: how many failed, and one of them.
func countFailed(replies []instanceReply, last error) error {
	n := 0
	for _, r := range replies {
		if r.Error != nil {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	if last == nil { // others came up meanwhile, and their replies were enough
		return noAnswerf("%d of %d instances gave no answer", n, len(replies))
	}
	return fmt.Errorf("%d of %d instances failed: %w", n, len(replies), last)
}

// serving are the instances that have an endpoint.
func (f fleet) serving(endpoint string) map[string]bool {
	names := map[string]bool{}
	for _, i := range f {
		for _, e := range i.Endpoints {
			if e.Name == endpoint {
				names[i.Instance] = true
			}
		}
	}
	return names
}
