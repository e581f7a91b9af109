package inbox

import (
	"encoding/json"
	"fmt"
	"maps"
)

// cursor is the record of a partition: who may commit, and up to where the
// mailbox is done. Each commit replaces it by compare-and-set, so whoever holds
// an older one is refused by the server, whatever it believes.
type cursor struct {
	// Owner is the instance that claimed the partition; empty once it has let
	// go of it.
	Owner string `json:"owner"`
	// Epoch grows by one with each claim.
	Epoch uint64 `json:"epoch"`
	// Position is the sequence in the mailbox up to which all messages of the
	// partition are done.
	Position uint64 `json:"position"`
	// Origins is, for each stream that the mailbox sources, the greatest
	// sequence there that is done: what comes again by a source that was
	// restarted is not above it.
	Origins map[string]uint64 `json:"origins,omitempty"`
	// Mailbox is the creation of the mailbox in nanoseconds since 1970:
	// positions mean nothing in another one.
	Mailbox int64 `json:"mailbox,omitempty"`
}

func (c cursor) encode() []byte {
	data, _ := json.Marshal(c) // of a struct of strings and numbers
	return data
}

func decodeCursor(data []byte) (cursor, error) {
	var c cursor
	if err := json.Unmarshal(data, &c); err != nil {
		return cursor{}, fmt.Errorf("read cursor %.100q: %w", data, err)
	}
	return c, nil
}

func (c cursor) clone() cursor {
	c.Origins = maps.Clone(c.Origins)
	return c
}

// same tells whether two cursors are of one claim and at one position: what a
// commit wrote, if it was stored.
func (c cursor) same(d cursor) bool {
	return c.Owner == d.Owner && c.Epoch == d.Epoch && c.Position == d.Position
}

// claimed is the cursor of the claim that follows c.
func (c cursor) claimed(owner string, mailbox int64) cursor {
	next := c.clone()
	next.Owner, next.Epoch = owner, c.Epoch+1
	if next.Mailbox != mailbox {
		// The mailbox was made anew: nothing of it is done.
		next.Position, next.Mailbox = 0, mailbox
	}
	return next
}

// passed tells whether a message that a source brought was done already, before
// the source was restarted.
func (c cursor) passed(origin string, seq uint64) bool {
	return origin != "" && seq <= c.Origins[origin]
}

// advance moves the cursor over one message.
func (c *cursor) advance(position uint64, origin string, seq uint64) {
	c.Position = position
	if origin == "" {
		return
	}
	if c.Origins == nil {
		c.Origins = make(map[string]uint64, 2)
	}
	c.Origins[origin] = max(c.Origins[origin], seq)
}
