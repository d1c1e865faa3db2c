package idempotency

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzDecodeRecord: records are read, and written, as encoding/json does.
func FuzzDecodeRecord(f *testing.F) {
	for _, text := range []string{
		`{"k":"outcome","a":"x","n":7,"r":[{"n":3,"to":3}],"d":{"all":{"s":"submitted"},"each":{"1":{"d":",\"d\":"}}}}`,
		`{"k":"intent","s":[{"st":"S","ep":1,"q":2}]}`,
		`{"k":"a","d":{"d":1},"n":3}`, `{"k":"a","z":{"a":1,"d":2},"n":3}`, `{"d":1,"k":"a","d":2}`, `{"k":"a","D":1,"d": null }`,
		`{"k":"a,","d":1}`, `{"k":"a,"d":1}`, `{"k":"a","d":1}}`, `{"k":"a","d":}`, `{"k":"a","n":"x","d":1}`, `[{"k":"a","d":1}`, `}`, ``,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, want Record
		err, wantErr := DecodeRecord(data, &got), json.Unmarshal(data, &want)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%v, encoding/json says %v", err, wantErr)
		}
		if err != nil {
			return
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
		out, err := got.Append([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		var back, again Record
		if err := json.Unmarshal(out[1:], &back); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		standard, err := json.Marshal(&got)
		if err != nil || json.Unmarshal(standard, &again) != nil {
			t.Fatal(err)
		}
		back.Detail, again.Detail = nil, nil // encoding/json makes it compact
		if d := cmp.Diff(again, back); d != "" {
			t.Fatal(d)
		}
	})
}
