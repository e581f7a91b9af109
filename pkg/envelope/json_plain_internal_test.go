package envelope

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

type plainOrder struct {
	ID     string            `json:"id"`
	Lines  []plainLine       `json:"lines"`
	Placed time.Time         `json:"placed"`
	Note   *string           `json:"note,omitempty"`
	Tags   map[string]string `json:"tags"`
	hidden json.RawMessage
}

type plainLine struct {
	SKU   string
	Cents int64
	Share float64
	OK    bool
}

type (
	withRaw       struct{ Data json.RawMessage }
	withAny       struct{ Data any }
	withNumber    struct{ N json.Number }
	withText      struct{ Addr netip.Addr }
	withKeys      struct{ M map[netip.Addr]string }
	recursive     struct{ Next *recursive }
	embedsMarshal struct{ marshals }
	marshals      struct{ S string }
	byPointer     struct{ S string }
)

func (marshals) MarshalJSON() ([]byte, error)   { return []byte(`{"a":1,"a":2}`), nil }
func (*byPointer) MarshalJSON() ([]byte, error) { return []byte(`{"a":1,"a":2}`), nil }

func TestPlainTypes(t *testing.T) {
	t.Parallel()
	_ = plainOrder{hidden: nil}
	var p plainTypes
	for range 2 {
		for value, want := range map[any]bool{
			reflect.TypeFor[plainOrder]():            true,
			reflect.TypeFor[*plainOrder]():           true,
			reflect.TypeFor[int]():                   true,
			reflect.TypeFor[[][]byte]():              true,
			reflect.TypeFor[withRaw]():               false,
			reflect.TypeFor[withAny]():               false,
			reflect.TypeFor[withNumber]():            false,
			reflect.TypeFor[withText]():              false,
			reflect.TypeFor[withKeys]():              false,
			reflect.TypeFor[recursive]():             false,
			reflect.TypeFor[embedsMarshal]():         false,
			reflect.TypeFor[byPointer]():             false,
			reflect.TypeFor[struct{ P byPointer }](): false,
			reflect.TypeFor[[]withRaw]():             false,
		} {
			if got := p.has(value.(reflect.Type)); got != want {
				t.Errorf("%v: %v", value, got)
			}
		}
	}
	if p.has(nil) || (*plainTypes)(nil).has(reflect.TypeFor[int]()) {
		t.Error("nothing, or nobody, knows a type")
	}
}

// TestEncodeChecksWhatIsNotPlain goes the way of publishers, whose codecs
// remember types: what a method writes is still read again.
func TestEncodeChecksWhatIsNotPlain(t *testing.T) {
	t.Parallel()
	codec, err := NewCodecs().For("application/json")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for name, v := range map[string]any{
			"raw":     withRaw{json.RawMessage(`{"a":1,"a":2}`)},
			"any":     withAny{json.RawMessage(`{"a":1,"a":2}`)},
			"method":  marshals{},
			"embeds":  embedsMarshal{},
			"pointer": &byPointer{},
		} {
			if text, err := codec.Encode(v); !errors.As(err, new(*JSONError)) {
				t.Errorf("%s: %s, %v", name, text, err)
			}
		}
		if _, err := codec.Encode(plainLine{SKU: "\xff"}); !errors.Is(err, ErrJSONUTF8) {
			t.Errorf("text that is not UTF-8: %v", err)
		}
		if text, err := codec.Encode(plainLine{SKU: "a"}); err != nil || string(text) != `{"SKU":"a","Cents":0,"Share":0,"OK":false}` {
			t.Errorf("plain: %s, %v", text, err)
		}
	}
}
