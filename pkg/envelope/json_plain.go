package envelope

import (
	"encoding"
	"encoding/json"
	"reflect"
	"sync"
	"time"
)

// plainTypes knows of which Go types encoding/json alone writes the text: no
// method and no RawMessage of theirs has a part in it, so it cannot break a rule
// that checkJSON looks for, and need not be read again. It grows by one entry
// for each payload type of the program. The nil one knows none. It is safe for
// concurrent use.
type plainTypes struct{ known sync.Map }

// maxPlainDepth bounds the walk through a type; a recursive one is not plain,
// for its values may nest without end.
const maxPlainDepth = 8

func (p *plainTypes) has(t reflect.Type) bool {
	if p == nil || t == nil {
		return false
	}
	if known, ok := p.known.Load(t); ok {
		plain, _ := known.(bool)
		return plain
	}
	plain := isPlainType(t, maxPlainDepth)
	p.known.Store(t, plain)
	return plain
}

func isPlainType(t reflect.Type, depth int) bool {
	if t == reflect.TypeFor[time.Time]() {
		return true
	}
	if depth == 0 || writesItself(t) || writesItself(reflect.PointerTo(t)) {
		return false
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return t != reflect.TypeFor[json.Number]()
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return isPlainType(t.Elem(), depth-1)
	case reflect.Map:
		return t.Key().Kind() == reflect.String && isPlainType(t.Key(), depth-1) && isPlainType(t.Elem(), depth-1)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); (f.IsExported() || f.Anonymous) && !isPlainType(f.Type, depth-1) {
				return false
			}
		}
		return true
	default:
		return false // an interface may hold anything; the rest encoding/json refuses
	}
}

func writesItself(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[json.Marshaler]()) || t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}
