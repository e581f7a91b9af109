package inbox

import (
	"context"
	"fmt"
	"iter"
	"reflect"

	"github.com/agner-go/agner/internal/stream"
	"github.com/agner-go/agner/internal/subject"
)

// Read returns the committed state of the entity of a key, from whatever process
// and without running the inbox: as old as the last commit, and possibly behind
// messages that wait. S is the type of in's state. The error matches ErrNotFound
// if nothing is stored.
func Read[S any](ctx context.Context, in *Inbox, key string) (S, error) {
	st := stateOf[S]()
	cell := st.cell(key)
	tx, _ := cell.(*Tx[S])
	if err := in.read(ctx, key, st.of, st.pointer(cell)); err != nil {
		return tx.State, fmt.Errorf("inbox: %s: read %q: %w", in.cfg.Name, key, err)
	}
	return tx.State, nil
}

func (in *Inbox) read(ctx context.Context, key string, of reflect.Type, into any) error {
	if of != in.state.of {
		return fmt.Errorf("the state is of type %s, not %s: %w", in.state.of, of, ErrConfig)
	}
	m, err := newServer(in.js, nil).last(ctx, stream.StateName(in.ns, in.cfg.Name), in.subjects.Entity(tokenOf(key)))
	if err != nil {
		return err
	}
	if m == nil || m.header.Get(headerStateDeleted) != "" {
		return ErrNotFound
	}
	data, err := in.upgrade(m)
	if err != nil {
		return err
	}
	if err := in.cfg.Codec.Decode(data, into); err != nil {
		return fmt.Errorf("decode state: %w", err)
	}
	return nil
}

// Keys lists the keys of the entities that have a stored state, in the order in
// which they were stored last. It reads as the caller goes, so entities that are
// stored meanwhile may come or not, or twice. An error ends it.
func (in *Inbox) Keys(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := in.keys(ctx, yield); err != nil {
			yield("", fmt.Errorf("inbox: %s: list: %w", in.cfg.Name, err))
		}
	}
}

func (in *Inbox) keys(ctx context.Context, yield func(string, error) bool) error {
	rd, err := newReader(ctx, newServer(in.js, nil), stream.StateName(in.ns, in.cfg.Name), 1, in.subjects.Entities())
	if err != nil {
		return err
	}
	defer rd.close()
	var batch []mail
	for n := uint64(0); n < rd.pending; {
		if batch, err = rd.take(ctx.Done(), batch[:0], readAtOnce); err != nil {
			return err
		}
		if len(batch) == 0 {
			return ctx.Err()
		}
		for _, m := range batch {
			n++
			token, ok := in.subjects.EntityOf(m.msg.Subject)
			if !ok || m.msg.Header.Get(headerStateDeleted) != "" {
				continue
			}
			key, err := keyOf(token, m.msg.Header.Get(headerKey))
			if err != nil {
				return err
			}
			if !yield(key, nil) {
				return nil
			}
		}
	}
	return nil
}

// keyOf gives the key of an entity's token; that of a hash stands in a header.
func keyOf(token, header string) (string, error) {
	key, written, err := subject.DecodeKey(token)
	if err != nil {
		return "", fmt.Errorf("entity %s: %w", token, err)
	}
	if !written {
		return unescapeKey(header), nil
	}
	return key, nil
}
