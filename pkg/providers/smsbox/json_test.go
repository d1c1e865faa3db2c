package smsbox

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]any{
		`{"a": 1,}`:                    map[string]any{"a": 1.0},
		"{\"a\": [1, 2 ,\n ] , }":      map[string]any{"a": []any{1.0, 2.0}},
		`{"a": ",}", 'b': ',]',}`:      map[string]any{"a": ",}", "b": ",]"},
		`{'a': 'It\'s "so" \\ \"x\"'}`: map[string]any{"a": `It's "so" \ "x"`},
		`{"a": "it's", "b": "isn't"}`:  map[string]any{"a": "it's", "b": "isn't"},
		`{"a": "it's", "b": "isn't",}`: map[string]any{"a": "it's", "b": "isn't"},
	} {
		var got any
		if err := decode([]byte(in), &got); err != nil {
			t.Errorf("%s: %v", in, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
	}
	for _, in := range []string{"", "{", "{a: 1}", "{'a", `{'a\`, "[1,,]", "[,]x", "{'a': 1}{"} {
		var got any
		if err := decode([]byte(in), &got); err == nil {
			t.Errorf("%s: read as %v", in, got)
		}
	}
}

// FuzzRepair: what is valid is never changed, and what is repaired once needs
// no second repair.
func FuzzRepair(f *testing.F) {
	f.Add([]byte(`{"a": "it's,}", "b": [1, 2]}`))
	f.Add([]byte(`{'a': 'x',}`))
	f.Add([]byte(`{'a\`))
	f.Fuzz(func(t *testing.T, b []byte) {
		out := repair(b)
		if json.Valid(b) && string(out) != string(b) {
			t.Fatalf("%q became %q", b, out)
		}
		if json.Valid(out) && string(repair(out)) != string(out) {
			t.Fatalf("%q is repaired twice", b)
		}
	})
}
