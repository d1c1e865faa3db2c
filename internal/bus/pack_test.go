package bus

import (
	"bytes"
	"testing"
)

func TestPack(t *testing.T) {
	t.Parallel()
	large := bytes.Repeat([]byte(`{"to":"+254712345678"},`), 100_000)
	for name, data := range map[string][]byte{"large": large, "small": []byte("{}"), "empty": nil} {
		o := Out{Data: data}
		o.Pack()
		if got := unpacked("sms.accepted.acme.high", o.Header, o.Data); !bytes.Equal(got, data) {
			t.Errorf("%s: came back as %d bytes, was %d", name, len(got), len(data))
		}
		if name == "large" && len(o.Data) > len(data)/5 || name != "large" && o.Header != nil {
			t.Errorf("%s: stored as %d bytes, header %v", name, len(o.Data), o.Header)
		}
	}
}

func TestUnpackLeavesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	h := Header{packedHeader: {packedGzip}}
	bomb := Out{Data: make([]byte, maxUnpacked+1)}
	bomb.Pack()
	for name, data := range map[string][]byte{"not gzip": []byte("{}"), "cut": bomb.Data[:100], "bomb": bomb.Data} {
		if got := unpacked("sms.accepted.acme.high", h, data); !bytes.Equal(got, data) {
			t.Errorf("%s: became %d bytes", name, len(got))
		}
	}
	client := Out{Data: make([]byte, packAbove+1)}
	client.Pack()
	if got := unpacked("sms.submit.acme.high", h, client.Data); !bytes.Equal(got, client.Data) {
		t.Errorf("what a client published became %d bytes", len(got))
	}
}
