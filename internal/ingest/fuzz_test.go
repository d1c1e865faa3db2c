package ingest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// FuzzSubmission: what is answered with 202 is never poison to who reads it next,
// says the same when it has lain on the bus, and has the texts that it was measured
// by.
func FuzzSubmission(f *testing.F) {
	for shape := range uint8(16) {
		f.Add("0712 345 678", "ACME", "Hi {{a}}, 5 < 6\n", "a", "é{{b}}\u2028\"", "order-17", "k", shape)
		f.Add("+254712345678", "+254712345678", "{{{a}}}}", "a_1", "}}", "", "Nats-Rollup", shape)
		f.Add("bad", "A-b.c 1", "😀", "", "\u007f", "\\", "", shape)
	}
	tenant, now := &Tenant{Name: "acme", DefaultRegion: "KE"}, time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, to, from, text, name, value, ref, key string, shape uint8) {
		e := submitted(to, from, text, name, value, ref, key, shape)
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if e, err = envelope.Decode(data); err != nil {
			return
		}
		p, refused, err := prepare(tenant, e, "01JD0000000000000000000000", now)
		if err != nil {
			return
		}
		if n := len(recipientsOf(e)); len(p.Messages)+len(refused) != n {
			t.Fatalf("%d recipients: %d messages, %d refused", n, len(p.Messages), len(refused))
		}
		if len(p.Messages) == 0 {
			return
		}
		if err := p.Check(); err != nil {
			t.Fatalf("%v: %+v", err, p)
		}
		stored, err := json.Marshal(p)
		var again envelope.Piece
		if err != nil || envelope.DecodePiece(stored, &again) != nil {
			t.Fatalf("cannot be read again: %v\n%s", err, stored)
		}
		if diff := cmp.Diff(p, &again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		for i := range p.Messages {
			if p.Form != nil {
				if _, err := p.Form.Fill(p.Messages[i].Variables); p.Template && err != nil {
					t.Fatal(err)
				}
				continue
			}
			text := p.Text
			if p.Template {
				text, err = envelope.Render(p.Text, p.Messages[i].Variables)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, n, err := envelope.CheckText(text); err != nil || n != p.Messages[i].Segments {
				t.Fatalf("%q has %d segments, told are %d: %v", text, n, p.Messages[i].Segments, err)
			}
		}
	})
}

// submitted is an envelope of one of many shapes.
func submitted(to, from, text, name, value, ref, key string, shape uint8) *envelope.Envelope {
	e := &envelope.Envelope{From: from, Text: text, Ref: ref, SupersedeKey: key, Metadata: map[string]string{key: value}}
	vars := map[string]string{name: value}
	if shape&1 != 0 {
		e.Variables = vars
	}
	if shape&2 != 0 {
		at := time.Date(2026, 12, 1, 8, 0, 0, 0, time.FixedZone("", 3*3600))
		e.SendAt, e.Priority, e.OnUncertain, e.Provider = &at, envelope.Bulk, envelope.Hold, key
	}
	if shape&4 != 0 {
		e.Channel, e.From, e.Text = envelope.WhatsApp, "", ""
		e.Template, e.Options = &envelope.Template{Name: name, Language: "en", Parameters: []string{text, value}}, map[string]string{key: ref}
	}
	if shape&8 != 0 {
		e.Recipients = []envelope.Recipient{{To: to, Ref: ref, Variables: vars}, {To: "+254712345678"}, {To: value, Variables: vars}}
	} else {
		e.To = to
	}
	return e
}

// FuzzObject: what is taken for an object is one to encoding/json too, with the same
// members.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{`{}`, ` {"a":"b","A":{"a":[1e400]}} `, `{"a":1,"\u0061":2}`, `{"a":1}{}`, `{"a":1} x`, `null`, `{"a"`, `{"a":1,}`, "{\"\xff\":1}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseObject(data)
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil || len(want) != len(got) {
			t.Fatalf("%d members, encoding/json says %d: %v", len(got), len(want), err)
		}
		for name, value := range got {
			if !bytes.Equal(value, want[name]) {
				t.Fatalf("%q is %s, encoding/json says %s", name, value, want[name])
			}
		}
	})
}

// FuzzLines: a body is its lines, however it arrives.
func FuzzLines(f *testing.F) {
	for _, seed := range []string{"", "\n", "a\nb", "a\r\nb\r\n", "\n\n\n", `{"to":"+254712345678"}` + "\n" + `{"to":`, "\x00\xff\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want := bytes.SplitAfter(data, []byte("\n"))
		for name, r := range map[string]io.Reader{"at once": bytes.NewReader(data), "drop by drop": iotest.OneByteReader(bytes.NewReader(data))} {
			b := bufio.NewReaderSize(r, 16) // longer lines take several reads
			for i, w := range want {
				got, err := readLine(b)
				if !bytes.Equal(got, w) || got == nil {
					t.Fatalf("%s: line %d is %q, want %q", name, i+1, got, w)
				}
				if last := i == len(want)-1; last != errors.Is(err, io.EOF) {
					t.Fatalf("%s: line %d of %d: %v", name, i+1, len(want), err)
				}
			}
		}
	})
}
