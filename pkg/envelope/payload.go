package envelope

import (
	"fmt"
	"reflect"
)

// TypeOf returns the event type of payload type T, asked of a zero value: for
// a pointer type of a new value, so that EventType may have either receiver.
// The error matches ErrPayload, or is the *AttributeError of the type.
func TypeOf[T Payload]() (string, error) {
	rt := reflect.TypeFor[T]()
	var zero T
	switch rt.Kind() {
	case reflect.Interface:
		return "", fmt.Errorf("envelope: %s is an interface, which has no type of its own: use a concrete type: %w", rt, ErrPayload)
	case reflect.Pointer:
		zero, _ = reflect.New(rt.Elem()).Interface().(T)
	default:
	}
	typ, err := eventType(zero)
	if err != nil {
		return "", err
	}
	if err := checkType(typ); err != nil {
		return "", fmt.Errorf("envelope: EventType of %s: %w", rt, err)
	}
	return typ, nil
}

func eventType(p Payload) (typ string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("envelope: EventType of %T panicked on a zero value (%v): return a constant: %w", p, r, ErrPayload)
		}
	}()
	return p.EventType(), nil
}

// KeyOf returns the key of a Keyed payload, and "" for any other value, a nil
// pointer included.
func KeyOf(p any) string {
	k, ok := p.(Keyed)
	if !ok {
		return ""
	}
	if v := reflect.ValueOf(p); v.Kind() == reflect.Pointer && v.IsNil() {
		return ""
	}
	return k.EventKey()
}
