package bus

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

func TestAcksAreReadInEveryForm(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]Ack{
		`{"stream":"SMS_EVENTS","seq":12}`:                                                       {"SMS_EVENTS", 12, false},
		`{"stream":"SMS_EVENTS","seq":12,"duplicate": true}`:                                     {"SMS_EVENTS", 12, true},
		`{"stream":"SMS_EVENTS","domain":"hub","seq":12}`:                                        {"SMS_EVENTS", 12, false},
		`{"seq": 12, "stream": "S", "duplicate": true, "batch": "x"}`:                            {"S", 12, true},
		`{"stream":"a\"b","seq":1}`:                                                              {`a"b`, 1, false},
		`{"type":"io.nats.jetstream.api.v1.pub_ack_response","stream":"S","seq":1,"error":null}`: {"S", 1, false},
	} {
		if got, err := readAck([]byte(data)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", data, got, err)
		}
	}
	for _, data := range []string{``, `{}`, `{"stream":"S","seq":12`, `{"stream":"S","seq":12}}`, `{"stream":"","seq":0}`, `[]`} {
		if got, err := readAck([]byte(data)); !errors.Is(err, jetstream.ErrInvalidJSAck) {
			t.Errorf("%s: %+v, %v", data, got, err)
		}
	}
	var api *jetstream.APIError
	_, err := readAck([]byte(`{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"S","seq":0}`))
	if !errors.As(err, &api) || api.ErrorCode != codeStoreFailed {
		t.Error(err)
	}
}

// Whatever the short way takes, encoding/json reads the same.
func FuzzAck(f *testing.F) {
	f.Add([]byte(`{"stream":"SMS_EVENTS","seq":12,"duplicate": true}`))
	f.Add([]byte(`{"stream":"S","seq":007}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readAck(data)
		if err != nil {
			return
		}
		var want struct {
			Stream    string
			Seq       uint64
			Duplicate bool
		}
		if json.Unmarshal(data, &want) != nil || (Ack{want.Stream, want.Seq, want.Duplicate}) != got {
			t.Fatalf("%q: %+v, want %+v", data, got, want)
		}
	})
}
