package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// Limits of one atomic batch: the server's default number of messages
// (max_batch_size, ADR-50), and what it is reasonable to hold in memory, on
// both sides, at once.
const (
	maxBatch      = 1000
	maxBatchBytes = 4 << 20
)

// Headers of the server's atomic batch (ADR-50) and of compare-and-set.
const (
	headerBatchID        = "Nats-Batch-Id"
	headerBatchSequence  = "Nats-Batch-Sequence"
	headerBatchCommit    = "Nats-Batch-Commit"
	headerExpected       = "Nats-Expected-Last-Subject-Sequence"
	headerExpectedOf     = "Nats-Expected-Last-Subject-Sequence-Subject"
	headerRollup         = "Nats-Rollup"
	rollupSubject        = "sub"
	batchTimeout         = 10 * time.Second
	codeBatchIncomplete  = jetstream.ErrorCode(10176)
	codeWrongLast        = jetstream.JSErrCodeStreamWrongLastSequence
	codeWrongLastPending = jetstream.JSErrCodeStreamWrongLastSequenceConstant
)

// publishBatch stores all messages or none, and returns the sequence of the
// last; the others stand before it, in order. A single message needs no batch,
// which spares the server its staging. After an error that is not the server's
// the messages may have been stored.
func (s server) publishBatch(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	ctx, unbind := s.link.bind(ctx)
	defer unbind()
	nc := s.nc
	if !nc.IsConnected() {
		return 0, nats.ErrDisconnected // and not into the client's buffer, to be sent who knows when
	}
	if len(msgs) > 1 {
		id := []string{nuid.Next()}
		for i, m := range msgs {
			m.Header[headerBatchID] = id
			m.Header[headerBatchSequence] = []string{strconv.Itoa(i + 1)}
			if i == len(msgs)-1 {
				m.Header[headerBatchCommit] = []string{"1"}
				break
			}
			if err := nc.PublishMsg(m); err != nil {
				return 0, err
			}
		}
	}
	answer, err := nc.RequestMsgWithContext(ctx, msgs[len(msgs)-1])
	if err != nil {
		return 0, err
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, fmt.Errorf("read acknowledgement %.100q: %w", answer.Data, err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	if ack.Seq == 0 {
		return 0, errors.New("acknowledgement without a sequence")
	}
	return ack.Seq, nil
}
