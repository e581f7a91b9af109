package inbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
)

// Headers of an entity's state.
const (
	headerKey          = "Agner-Key"
	headerStateVersion = "Agner-State-Version"
	headerStateDeleted = "Agner-State-Deleted"
)

// entity is one entity in memory. Its cell belongs to the partition's run; data
// and what follows are guarded by run.mu.
type entity struct {
	key, token string
	cell       any // *Tx[S]

	// data is the encoding of the state after the last message that was handled
	// without an error, committed or not; nil for none. It is never changed in
	// place.
	data    []byte
	seq     uint64 // of the stored state when it was read
	proven  bool   // this claim has written it, so nobody else can have
	dirty   bool   // waits for a commit
	broken  error  // the stored state cannot be read
	writing bool   // is in the commit under way

	older, newer *entity // by last use
}

// cache is the entities of one partition in memory, ordered by last use.
type cache struct {
	by             map[string]*entity // by token
	oldest, newest *entity
}

func (c *cache) get(token string) *entity {
	ent := c.by[token]
	if ent != nil && ent != c.newest {
		c.unlink(ent)
		c.link(ent)
	}
	return ent
}

func (c *cache) put(ent *entity) {
	if c.by == nil {
		c.by = make(map[string]*entity)
	}
	c.by[ent.token] = ent
	c.link(ent)
}

func (c *cache) link(ent *entity) {
	ent.older, ent.newer = c.newest, nil
	if c.newest != nil {
		c.newest.newer = ent
	} else {
		c.oldest = ent
	}
	c.newest = ent
}

func (c *cache) unlink(ent *entity) {
	if ent.older != nil {
		ent.older.newer = ent.newer
	} else {
		c.oldest = ent.newer
	}
	if ent.newer != nil {
		ent.newer.older = ent.older
	} else {
		c.newest = ent.older
	}
	ent.older, ent.newer = nil, nil
}

// drop forgets an entity.
func (c *cache) drop(ent *entity) {
	if c.by[ent.token] == ent {
		c.unlink(ent)
		delete(c.by, ent.token)
	}
}

// trim drops the entities that were not used for longest, down to most. What
// is not committed yet stays.
func (c *cache) trim(most int) {
	for ent := c.oldest; ent != nil && len(c.by) > most; {
		next := ent.newer
		if !ent.dirty && !ent.writing {
			c.drop(ent)
		}
		ent = next
	}
}

// loadsAtOnce bounds the reads of one partition that are under way together.
const loadsAtOnce = 32

// load reads entities that are not in memory, side by side, and puts them into
// the cache.
func (r *run) load(ctx context.Context, keys map[string]string) error {
	if len(keys) == 0 {
		return nil
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		errs  []error
		slots = make(chan struct{}, loadsAtOnce)
	)
	for token, key := range keys {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			ent, err := r.e.loadEntity(ctx, key, token)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			r.cache.put(ent)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// loadEntity reads one entity from the leader of the state's stream.
func (e *engine) loadEntity(ctx context.Context, key, token string) (*entity, error) {
	ent := &entity{key: key, token: token, cell: e.in.state.cell(key)}
	if e.in.state.stateless {
		ent.proven = true // there is nothing to be wrong about
		return ent, nil
	}
	m, err := e.server.last(ctx, e.stateStream, e.in.subjects.Entity(token))
	if err != nil || m == nil {
		return ent, err
	}
	ent.seq = m.seq
	if m.header.Get(headerStateDeleted) != "" {
		return ent, nil
	}
	// A state that cannot be read is the trouble of its entity, not of the
	// partition.
	ent.broken = protect(func() error {
		if ent.data, err = e.in.upgrade(m); err != nil {
			return err
		}
		if err := e.in.cfg.Codec.Decode(ent.data, e.in.state.pointer(ent.cell)); err != nil {
			return fmt.Errorf("decode state: %w", err)
		}
		return nil
	})
	return ent, nil
}

// protect turns a panic of the user's code into an error.
func protect(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	return f()
}

// upgrade gives the bytes of a stored state in the version of this program.
func (in *Inbox) upgrade(m *stored) ([]byte, error) {
	version := 0
	if v := m.header.Get(headerStateVersion); v != "" {
		var err error
		if version, err = strconv.Atoi(v); err != nil {
			return nil, fmt.Errorf("%w: %q is no version", ErrStateVersion, v)
		}
	}
	switch {
	case version == in.cfg.StateVersion:
		return m.data, nil
	case version > in.cfg.StateVersion:
		return nil, fmt.Errorf("%w: stored as version %d, this program has %d: deploy the later program", ErrStateVersion, version, in.cfg.StateVersion)
	case in.cfg.Upgrade == nil:
		return nil, fmt.Errorf("%w: stored as version %d, this program has %d: set Config.Upgrade", ErrStateVersion, version, in.cfg.StateVersion)
	}
	data, err := in.cfg.Upgrade(version, m.data)
	if err != nil {
		return nil, fmt.Errorf("upgrade state from version %d: %w", version, err)
	}
	return data, nil
}

// restore sets an entity back to what it was before a handler that failed. The
// cell is a new one: the handler may have kept the old.
func (in *Inbox) restore(ent *entity) error {
	ent.cell = in.state.cell(ent.key)
	if ent.data == nil || in.state.stateless {
		return nil
	}
	if err := in.cfg.Codec.Decode(ent.data, in.state.pointer(ent.cell)); err != nil {
		return fmt.Errorf("entity %q: decode its state: %w", ent.key, err)
	}
	return nil
}

// outcome is what a handler did to the entity's state: its new encoding, and
// whether that is another one.
func (in *Inbox) outcome(ent *entity, c *call) (data []byte, changed bool, err error) {
	if c.deleted {
		ent.cell = in.state.cell(ent.key)
		return nil, ent.data != nil, nil
	}
	data, err = in.encode(ent.cell)
	if err != nil {
		return nil, false, fmt.Errorf("encode state: %w", err)
	}
	if len(data) > in.cfg.MaxState {
		return nil, false, fmt.Errorf("%w: entity %q has %d bytes, at most %d are allowed (Config.MaxState): store large data elsewhere and keep a reference", ErrStateTooLarge, ent.key, len(data), in.cfg.MaxState)
	}
	before := ent.data
	if before == nil {
		before = in.zero
	}
	return data, !bytes.Equal(data, before), nil
}

// stateMessage is how an entity is stored: one message for its subject, which
// replaces the one before. A state that was read and not yet written by this
// claim carries the sequence that was read, so that an answer that was out of
// date is refused.
func (e *engine) stateMessage(ent *entity, data []byte) *nats.Msg {
	h := make(nats.Header, 6)
	h[headerRollup] = e.values.rollup
	if ent.token == "" || ent.token[0] == '~' {
		h[headerKey] = []string{escapeKey(ent.key)}
	}
	if e.values.version != nil {
		h[headerStateVersion] = e.values.version
	}
	if data == nil {
		h[headerStateDeleted] = e.values.one
	}
	if !ent.proven {
		h[headerExpected] = []string{strconv.FormatUint(ent.seq, 10)}
	}
	return &nats.Msg{Subject: e.in.subjects.Entity(ent.token), Header: h, Data: data}
}
