package consume

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agner-go/agner/internal/stream"
)

// An event whose handler takes the whole process with it never fails: it is
// merely delivered again, along with the innocent events that were received
// beside it. Deliveries alone cannot tell them apart. So an event that was
// delivered more often than suspectAfter is run alone in its process, and a
// mark is written first and removed afterwards: a mark that is still there is
// a death of this event and no other. After maxDeaths of them it becomes a dead
// letter.
const (
	suspectAfter = 3
	maxDeaths    = 3
)

// headerMarkDeaths counts, in a mark, the runs from which no process has come
// back, the one that it was written for included.
const headerMarkDeaths = "Agner-Mark-Deaths"

var errKills = errors.New("its handler ends the process")

// mark writes the mark of a run to come. If marks of earlier runs say that the
// event kills, it returns the verdict instead.
func (l *loop) mark(a *attempt) (v verdict, kills bool, err error) {
	ctx, cancel := context.WithTimeout(l.base, requestTimeout)
	defer cancel()
	subj := l.ns.RetryMark(l.cfg.Group, l.sub.name, a.origin.sequence)
	deaths := 0
	m, err := (*l.laneStream.Load()).GetLastMsgForSubject(ctx, subj)
	switch {
	case err == nil:
		deaths, _ = strconv.Atoi(m.Header.Get(headerMarkDeaths)) // 0 if somebody else wrote it
	case !errors.Is(err, jetstream.ErrMsgNotFound):
		return v, false, fmt.Errorf("read mark: %w", err)
	}
	if deaths >= maxDeaths {
		return verdict{
			outcome: outcomeDead, reason: reasonKilled,
			err: fmt.Errorf("%w: %d times while it ran alone", errKills, deaths),
		}, true, nil
	}
	_, err = l.js.PublishMsg(ctx, &nats.Msg{Subject: subj, Header: nats.Header{
		headerMarkDeaths:    {strconv.Itoa(deaths + 1)},
		jetstream.MsgRollup: {jetstream.MsgRollupSubject},
	}})
	if err != nil {
		return v, false, fmt.Errorf("write mark: %w", stream.Full(err))
	}
	return v, false, nil
}

// unmark removes the marks of an event whose handler has come back, or that is
// a dead letter by now.
func (l *loop) unmark(a *attempt) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.base), requestTimeout)
	defer cancel()
	subj := l.ns.RetryMark(l.cfg.Group, l.sub.name, a.origin.sequence)
	if err := (*l.laneStream.Load()).Purge(ctx, jetstream.WithPurgeSubject(subj)); err != nil {
		l.log.Warn("mark of a suspect event could not be removed; it counts as a death if the event comes again",
			"event", a.event.ID, "error", err)
	}
}
