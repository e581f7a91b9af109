package envelope

import (
	"reflect"
	"unicode/utf8"
)

// holdsBadString tells whether v holds a string that is not UTF-8, down to
// depth levels. What fields JSON leaves out it looks at too.
func holdsBadString(v reflect.Value, depth int) bool {
	if depth == 0 {
		return false
	}
	depth--
	switch v.Kind() {
	case reflect.String:
		return !utf8.ValidString(v.String())
	case reflect.Pointer, reflect.Interface:
		return holdsBadString(v.Elem(), depth)
	case reflect.Struct:
		for _, f := range v.Fields() {
			if holdsBadString(f, depth) {
				return true
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if holdsBadString(v.Index(i), depth) {
				return true
			}
		}
	case reflect.Map:
		for k, e := range v.Seq2() {
			if holdsBadString(k, depth) || holdsBadString(e, depth) {
				return true
			}
		}
	default:
	}
	return false
}
