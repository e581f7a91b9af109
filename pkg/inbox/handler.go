package inbox

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/agner-go/agner/pkg/envelope"
)

// Handler is one typed handler of an inbox. Make one with [On] or [Answer]; it
// is a value, and nothing starts before Inbox.Run.
type Handler struct {
	typ    string
	state  stateType
	answer bool
	err    error

	subscribed bool
	rekey      func(codecs *envelope.Codecs, raw *envelope.Raw) (string, error)

	// run decodes the message, runs the handler on the entity's cell, and
	// returns the answer, nil for On.
	run func(ctx context.Context, codecs *envelope.Codecs, cell any, c *call, raw *envelope.Raw) (any, error)
}

// Option sets one property of a handler.
type Option func(*Handler)

// Subscribed makes the inbox source the handler's type from the stream of
// events: each event of the type reaches the entity of its key, in one ordered
// mailbox with what is sent. Events without a key reach the entity with the
// empty key.
func Subscribed() Option { return func(h *Handler) { h.subscribed = true } }

// SubscribedBy is Subscribed with another key: what the function makes of the
// event's data is the key of the entity that handles it. The event first
// stands in the partition of its own key and is forwarded, exactly once, so
// events of one key of their own keep their order. T is the handler's.
func SubscribedBy[T envelope.Payload](key func(e envelope.Event[T]) string) Option {
	return func(h *Handler) {
		h.subscribed = true
		if typ, err := envelope.TypeOf[T](); err == nil && typ != h.typ || key == nil {
			h.err = errors.Join(h.err, fmt.Errorf("SubscribedBy is given a function of another type, or none: %w", ErrConfig))
			return
		}
		h.rekey = func(codecs *envelope.Codecs, raw *envelope.Raw) (string, error) {
			e, err := envelope.DecodeData[T](codecs, raw)
			if err != nil {
				return "", &undecodableError{err}
			}
			return key(e), nil
		}
	}
}

// On handles the messages of T's type. S is the state of the inbox's entities,
// the same in all its handlers; struct{} means that there is none. An error
// discards what the handler did and the message is run again, in its place,
// after a growing delay.
func On[S any, T envelope.Payload](h func(ctx context.Context, tx *Tx[S], e envelope.Event[T]) error, opts ...Option) Handler {
	out := newHandler[S, T](h == nil)
	out.run = func(ctx context.Context, codecs *envelope.Codecs, cell any, c *call, raw *envelope.Raw) (any, error) {
		tx, e, err := enter[S, T](codecs, cell, c, raw)
		if err != nil {
			return nil, err
		}
		defer tx.leave()
		return nil, h(ctx, tx, e)
	}
	return out.with(opts)
}

// Answer handles the messages of Q's type that [Ask] sends, and returns what the
// asker gets once the commit is stored. The handler may change the state and
// publish like any other. An error discards what it did and is the answer; the
// message is done.
func Answer[S any, Q envelope.Payload, Res any](h func(ctx context.Context, tx *Tx[S], q Q) (Res, error), opts ...Option) Handler {
	out := newHandler[S, Q](h == nil)
	out.answer = true
	out.run = func(ctx context.Context, codecs *envelope.Codecs, cell any, c *call, raw *envelope.Raw) (any, error) {
		tx, e, err := enter[S, Q](codecs, cell, c, raw)
		if err != nil {
			return nil, err
		}
		defer tx.leave()
		return h(ctx, tx, e.Data)
	}
	return out.with(opts)
}

func newHandler[S any, T envelope.Payload](missing bool) Handler {
	typ, err := envelope.TypeOf[T]()
	if err == nil && missing {
		err = fmt.Errorf("handler is nil: %w", ErrConfig)
	}
	return Handler{typ: typ, err: err, state: stateOf[S]()}
}

func (h Handler) with(opts []Option) Handler {
	for _, o := range opts {
		o(&h)
	}
	return h
}

// enter gives the handler its transaction and its event.
func enter[S any, T envelope.Payload](codecs *envelope.Codecs, cell any, c *call, raw *envelope.Raw) (*Tx[S], envelope.Event[T], error) {
	e, err := envelope.DecodeData[T](codecs, raw)
	if err != nil {
		return nil, e, &undecodableError{err}
	}
	tx, ok := cell.(*Tx[S])
	if !ok { // New has compared the types
		return nil, e, fmt.Errorf("entity holds a %T: %w", cell, ErrConfig)
	}
	tx.call = c
	return tx, e, nil
}

// undecodableError is of data that the handler's type cannot take: running the
// handler again would not help.
type undecodableError struct{ err error }

func (e *undecodableError) Error() string { return e.err.Error() }
func (e *undecodableError) Unwrap() error { return e.err }

// stateType is what the engine knows of S.
type stateType struct {
	of        reflect.Type
	stateless bool
	// cell makes an entity's transaction with a zero state: a *Tx[S].
	cell func(key string) any
	// pointer gives the *S within a cell.
	pointer func(cell any) any
}

func stateOf[S any]() stateType {
	of := reflect.TypeFor[S]()
	return stateType{
		of:        of,
		stateless: of.Kind() == reflect.Struct && of.NumField() == 0,
		cell: func(key string) any {
			tx := &Tx[S]{Key: key}
			if of.Kind() == reflect.Pointer {
				tx.State, _ = reflect.New(of.Elem()).Interface().(S)
			}
			return tx
		},
		pointer: func(cell any) any {
			tx, ok := cell.(*Tx[S])
			if !ok {
				return nil
			}
			return &tx.State
		},
	}
}
