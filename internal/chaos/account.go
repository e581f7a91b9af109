package chaos

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strconv"
)

// Origin is the way on which a message came to an entity. Messages of one origin
// have an order; between two origins there is none that the checker could know.
type Origin string

// The origins.
const (
	Direct   Origin = "direct"   // sent by inbox.Client
	Events   Origin = "events"   // published to EVENTS, where the inbox subscribes
	Neighbor Origin = "neighbor" // sent by another entity in its commit
)

// Deposit is sent to an account directly.
type Deposit struct {
	Key string `json:"key"`
	N   int    `json:"n"` // the nth of its key, from 1
	Pad string `json:"pad,omitempty"`
}

// EventType is its type.
func (Deposit) EventType() string { return "chaos.deposit.v1" }

// EventKey is the account.
func (d Deposit) EventKey() string { return d.Key }

// Accrued is a domain event that the inbox subscribes to.
type Accrued struct {
	Key string `json:"key"`
	N   int    `json:"n"`
	Pad string `json:"pad,omitempty"`
}

// EventType is its type.
func (Accrued) EventType() string { return "chaos.accrued.v1" }

// EventKey is the account.
func (a Accrued) EventKey() string { return a.Key }

// Charged is a second one, which a running inbox subscribes to later.
type Charged struct {
	Key string `json:"key"`
	N   int    `json:"n"`
	Pad string `json:"pad,omitempty"`
}

// EventType is its type.
func (Charged) EventType() string { return "chaos.charged.v1" }

// EventKey is the account.
func (c Charged) EventKey() string { return c.Key }

// Transfer is what an account sends to its neighbor with every transferEvery-th
// deposit, in the same commit.
type Transfer struct {
	From string `json:"from"`
	N    int    `json:"n"` // of the deposit
}

// EventType is its type.
func (Transfer) EventType() string { return "chaos.transfer.v1" }

// Tallied is the output of an account after every tallyEvery-th message: all that
// it knows, so that one that stands there wrongly shows.
type Tallied struct {
	Key     string  `json:"key"`
	Account Account `json:"account"`
}

// EventType is its type.
func (Tallied) EventType() string { return "chaos.tallied.v1" }

// EventKey is the account.
func (t Tallied) EventKey() string { return t.Key }

const (
	tallyEvery    = 4
	transferEvery = 16
)

// Account is the state of an entity: a fold in which each error shows.
type Account struct {
	Count  int              `json:"count"` // messages of all origins
	Chains map[Origin]Chain `json:"chains,omitempty"`
}

// Chain is the fold over the messages of one origin.
type Chain struct {
	Count int    `json:"count"`
	Sum   uint64 `json:"sum"`  // which no order changes
	Hash  uint64 `json:"hash"` // which every difference changes
	Last  int    `json:"last"` // number of the last message
}

// Link returns the chain with one message more.
func (c Chain) Link(key string, n int) Chain {
	var before [8]byte
	binary.BigEndian.PutUint64(before[:], c.Hash)
	id := key + "/" + strconv.Itoa(n)
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // a hash takes everything
	c.Sum += h.Sum64() >> 24
	_, _ = h.Write(before[:])
	return Chain{Count: c.Count + 1, Sum: c.Sum, Hash: h.Sum64(), Last: n}
}

// Apply folds the nth message of an origin into the account and says whether it
// is time for an output.
func (a *Account) Apply(o Origin, key string, n int) (tally bool) {
	if a.Chains == nil {
		a.Chains = make(map[Origin]Chain)
	}
	a.Count++
	a.Chains[o] = a.Chains[o].Link(key, n)
	return a.Count%tallyEvery == 0
}

// KeyOf is the ith key, and neighbor the key to which it sends: each key has one
// that sends to it, so that those messages too have one order.
func KeyOf(i int) string { return fmt.Sprintf("account-%05d", i) }

// neighbor is the key after this one, of so many.
func neighbor(key string, keys int) string {
	i, err := strconv.Atoi(key[len("account-"):])
	if err != nil {
		return key
	}
	return KeyOf((i + 1) % keys)
}
