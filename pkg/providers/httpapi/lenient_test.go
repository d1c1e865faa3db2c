package httpapi

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/providers"
)

func TestLenient(t *testing.T) {
	t.Parallel()
	type in struct {
		Words Words                 `json:"w"`
		Truth Truth                 `json:"t"`
		List  List[map[string]bool] `json:"l"`
	}
	yes, no := Truth{true, true}, Truth{true, false}
	one := List[map[string]bool]{{"a": true}}
	for doc, want := range map[string]in{
		`{}`:                                           {},
		`{"w":null,"t":null,"l":null}`:                 {},
		`{"w":"a\nb","t":true,"l":[{"a":true}]}`:       {"a\nb", yes, one},
		`{"w":12,"t":"TRUE","l":{"a":true}}`:           {"12", yes, one},
		`{"w":false,"t":1,"l":[1,{"a":true},{"a":7}]}`: {"false", yes, one},
		`{"w":{"x":1},"t":"0","l":"x"}`:                {"", no, nil},
		`{"w":["x"],"t":0,"l":[]}`:                     {"", no, List[map[string]bool]{}},
		`{"t":"False"}`:                                {"", no, nil},
		`{"t":"yes","l":7}`:                            {},
		`{"t":{},"l":false}`:                           {},
	} {
		var got in
		if err := json.Unmarshal([]byte(doc), &got); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", doc, d)
		}
	}
	var w Words
	if err := json.Unmarshal([]byte(`"`+strings.Repeat("x", 9999)+`"`), &w); err != nil || len(w) != 8*maxDetail {
		t.Errorf("%d bytes of words, %v", len(w), err)
	}
}

func TestForm(t *testing.T) {
	t.Parallel()
	const inParts = "--xYz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n+1 2\r\n--xYz\r\nContent-Disposition: form-data; name=\"b\"\r\nContent-Type: text/plain\r\n\r\nline\r\nline\r\n" +
		"--xYz\r\nContent-Disposition: form-data; name=\"c\"; filename=\"x\"\r\n\r\nfile\r\n--xYz--\r\n"
	many := strings.Repeat("&a=1&b=2", 3)
	for _, tt := range []struct {
		name, body, query string
		want              map[string]string
	}{
		{"urlencoded", "a=%2B1+2&b=", "x=1", map[string]string{"a": "+1 2", "b": ""}},
		{"query", "", "a=%2B1&b=2", map[string]string{"a": "+1", "b": "2"}},
		{"parts", inParts, "", map[string]string{"a": "+1 2", "b": "line\r\nline"}},
		{"a mark and white space", "\ufeffa=1\r\n", "", map[string]string{"a": "1"}},
		{"the same again", "a=1" + many, "", map[string]string{"a": "1", "b": "2"}},
		{"two minds", "a=1&a=2", "", nil},
		{"no form", "a=%zz", "", nil},
		{"parts cut", inParts[:60], "", nil},
		{"no boundary", "--", "", nil},
	} {
		query, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Form(&providers.Callback{Body: []byte(tt.body), Query: query})
		if (err != nil) != (tt.want == nil) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
	fields := url.Values{}
	for i := range maxFields + 1 {
		fields.Set(strings.Repeat("x", i+1), "1")
	}
	if _, err := Form(&providers.Callback{Body: []byte(fields.Encode())}); err == nil {
		t.Error("too many fields are read")
	}
}
