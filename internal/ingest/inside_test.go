package ingest

import (
	"encoding/json"
	"testing"
	"time"

	"golang.org/x/time/rate"
	"pgregory.net/rapid"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

func TestTakeLocal(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	l := rate.NewLimiter(10, 10)
	if d := takeLocal(l, now, 4); d != 0 {
		t.Errorf("4 of 10: %s", d)
	}
	if d := takeLocal(l, now, 7); d != 100*time.Millisecond {
		t.Errorf("7 of the 6 that are left: %s", d)
	}
	if d := takeLocal(l, now, 6); d != 0 {
		t.Errorf("what was refused took something: %s", d)
	}
	// An envelope larger than the burst passes once the bucket is full, and is
	// paid for afterwards.
	now = now.Add(time.Second)
	if d := takeLocal(l, now, 35); d != 0 {
		t.Errorf("35 with a full bucket of 10: %s", d)
	}
	if d := takeLocal(l, now, 1); d != 2600*time.Millisecond {
		t.Errorf("after that: %s", d)
	}
}

func TestMessageSizeIsNeverTooLow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("a<>&\"\\\n\u2028é😀")))
		m := envelope.Message{
			Index: rapid.IntRange(0, 9999).Draw(t, "index"), To: "+254712345678", Ref: text.Draw(t, "ref"), Segments: 10,
			Variables: rapid.MapOf(rapid.StringMatching("[a-z]{1,9}"), text).Draw(t, "variables"),
		}
		data, err := json.Marshal(&m)
		if err != nil || len(data) > messageSize(&m) {
			t.Fatalf("%d bytes, estimated %d (%v)", len(data), messageSize(&m), err)
		}
	})
}

func TestCounter(t *testing.T) {
	t.Parallel()
	var c counter
	leave, ok := c.enter("a", 1)
	if !ok {
		t.Fatal("the first is refused")
	}
	if _, ok := c.enter("a", 1); ok {
		t.Error("one too many")
	}
	if _, ok := c.enter("b", 1); !ok {
		t.Error("another's place is taken")
	}
	leave()
	if _, ok := c.enter("a", 1); !ok {
		t.Error("the place is not given back")
	}
}

func TestTraceparent(t *testing.T) {
	t.Parallel()
	good := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for s, want := range map[string]string{
		good: good, "": "", good + "-x": "", "01" + good[2:]: "", good[:54] + "G": "", good[:54] + "\n": "", good[:35] + "_" + good[36:]: "",
	} {
		if got := traceparent(s); got != want {
			t.Errorf("%q: %q", s, got)
		}
	}
}

// Taking a submission again gives the same id, another place another one.
func TestEnvelopeIDIsDerived(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	o := envelope.Origin{Stream: "SMS_SUBMIT_acme", Epoch: 7, Seq: 9}
	id := envelopeID(at, o)
	if len(id) != 26 || id != envelopeID(at, o) {
		t.Errorf("%s", id)
	}
	for _, other := range []envelope.Origin{{Stream: "SMS_SUBMIT_beta", Epoch: 7, Seq: 9}, {Stream: o.Stream, Epoch: 8, Seq: 9}, {Stream: o.Stream, Epoch: 7, Seq: 10}} {
		if envelopeID(at, other) == id {
			t.Errorf("%+v has the same id", other)
		}
	}
}

// FuzzNormalise: whatever comes in, only E.164 comes out, and it stays as it is.
func FuzzNormalise(f *testing.F) {
	for _, s := range []string{"+254712345678", "0712 345 678", "00254712345678", "tel:+1", "+２５４", "+1 (202) 555-0123", "", "+"} {
		f.Add(s, "KE")
	}
	f.Add("202-555-0123", "US")
	f.Fuzz(func(t *testing.T, number, region string) {
		tenant := &Tenant{DefaultRegion: region}
		got, err := normalise(tenant, number)
		if err != nil {
			return
		}
		if !envelope.ValidNumber(got) {
			t.Fatalf("%q became %q", number, got)
		}
		if again, err := normalise(tenant, got); err != nil || again != got {
			t.Fatalf("%q became %q, then %q (%v)", number, got, again, err)
		}
	})
}
