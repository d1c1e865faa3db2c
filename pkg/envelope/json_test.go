package envelope_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// fill draws what a writer may write, the odd characters included.
func fillText(t *rapid.T, name string) string {
	return rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9+ .{}-]{0,12}`), rapid.String(), rapid.SampledFrom([]string{"", "<&>", "\u2028", "a\"b\\", "\x00\x7f\xff"})).Draw(t, name)
}

func drawPiece(t *rapid.T) *envelope.Piece {
	when := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
	p := &envelope.Piece{
		ID: fillText(t, "id"), Tenant: fillText(t, "tenant"), Priority: envelope.Priority(fillText(t, "priority")), Account: fillText(t, "account"),
		Route: rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "route"), From: fillText(t, "from"), Text: fillText(t, "text"),
		Template: rapid.Bool().Draw(t, "template"), AcceptedAt: when, ExpiresAt: when.Add(time.Hour), OnUncertain: envelope.Policy(fillText(t, "policy")),
		SupersedeKey: fillText(t, "supersede"), Provider: fillText(t, "provider"), Ref: fillText(t, "ref"),
		Metadata: rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, "metadata"), Traceparent: fillText(t, "trace"),
		Attempts: rapid.IntRange(-2, 300).Draw(t, "attempts"), Tries: rapid.IntRange(0, 3).Draw(t, "tries"), ReplayOf: fillText(t, "replay"),
		RetryOf: rapid.Uint64().Draw(t, "retry"), Channel: envelope.Channel(fillText(t, "channel")),
		Options: rapid.MapOfN(rapid.String(), rapid.String(), 0, 2).Draw(t, "options"),
	}
	if rapid.Bool().Draw(t, "form") {
		p.Form = &envelope.Template{
			Name: fillText(t, "form name"), Language: fillText(t, "language"),
			Parameters: rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "parameters"),
		}
	}
	if rapid.Bool().Draw(t, "later") {
		p.SendAt = &when
	}
	if rapid.Bool().Draw(t, "copy") {
		p.Origin = &envelope.Origin{Stream: fillText(t, "stream"), Epoch: rapid.Int64().Draw(t, "epoch"), Seq: rapid.Uint64().Draw(t, "seq")}
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "n") {
		p.Messages = append(p.Messages, envelope.Message{
			Index: i, To: fillText(t, "to"), Ref: fillText(t, "mref"), Segments: rapid.IntRange(0, 9).Draw(t, "segments"),
			Variables: rapid.MapOfN(rapid.String(), rapid.String(), 0, 2).Draw(t, "vars"),
		})
	}
	return p
}

func TestPieceIsWrittenAndReadAsEncodingJSONDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPiece(t)
		want, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := envelope.AppendPiece(nil, p); !bytes.Equal(got, want) {
			t.Fatalf("wrote\n%s\nwant\n%s", got, want)
		}
		samePiece(t, want)
	})
}

func TestEventIsWrittenAndReadAsEncodingJSONDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := &envelope.Event{
			ID: fillText(t, "id"), Time: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "s"), 5).UTC(), Tenant: fillText(t, "tenant"),
			Status: envelope.Status(fillText(t, "status")), Provider: fillText(t, "provider"), Detail: fillText(t, "detail"),
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "n") {
			m := envelope.EventMessage{
				ID: fillText(t, "mid"), EnvelopeID: fillText(t, "env"), To: fillText(t, "to"), Ref: fillText(t, "ref"), Traceparent: fillText(t, "trace"),
				ProviderMessageID: fillText(t, "pid"), Segments: i, Attempts: rapid.IntRange(-1, 3).Draw(t, "attempts"), ReplayOf: fillText(t, "replay"),
				Cost: fillText(t, "cost"), Operator: fillText(t, "operator"),
			}
			if rapid.Bool().Draw(t, "refused") {
				m.Index, m.Error = &i, &envelope.EventError{Code: fillText(t, "code"), ProviderCode: fillText(t, "pcode"), Detail: fillText(t, "edetail")}
			}
			e.Messages = append(e.Messages, m)
		}
		want, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if got := envelope.AppendEvent(nil, e); !bytes.Equal(got, want) {
			t.Fatalf("wrote\n%s\nwant\n%s", got, want)
		}
		sameEvent(t, want)
	})
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// samePiece reads data in both ways.
func samePiece(t fataler, data []byte) {
	t.Helper()
	var got, want envelope.Piece
	gotErr, wantErr := envelope.DecodePiece(data, &got), json.Unmarshal(data, &want)
	if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
		t.Fatalf("%s\nerror %v, want %v", data, gotErr, wantErr)
	}
	if d := cmp.Diff(want, got); wantErr == nil && d != "" {
		t.Fatalf("%s\n%s", data, d)
	}
}

func sameEvent(t fataler, data []byte) {
	t.Helper()
	var got, want envelope.Event
	gotErr, wantErr := envelope.DecodeEvent(data, &got), json.Unmarshal(data, &want)
	if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
		t.Fatalf("%s\nerror %v, want %v", data, gotErr, wantErr)
	}
	if d := cmp.Diff(want, got); wantErr == nil && d != "" {
		t.Fatalf("%s\n%s", data, d)
	}
}

// What no writer of ours writes is read by encoding/json, to its last oddity.
func TestOtherDocumentsAreReadAsEncodingJSONDoes(t *testing.T) {
	t.Parallel()
	for _, data := range []string{
		``, `null`, `{}`, `[]`, `{"id":"a"} `, `{"id":"a"}x`, ` {"id":"a"}`, `{"ID":"a"}`, `{"id":"a","id":"b"}`, `{"id":null}`, `{"new":1,"id":"a"}`,
		`{"id":"a\u0062\ud800"}`, "{\"id\":\"\xff\"}", "{\"id\":\"\n\"}", `{"attempts":1.0}`, `{"attempts":-0}`, `{"attempts":01}`, `{"attempts":99999999999999999999}`,
		`{"retry_of":18446744073709551615}`, `{"retry_of":-1}`, `{"messages":null}`, `{"messages":[null]}`, `{"messages":[{"i":0},{"i":1,}]}`,
		`{"origin":null}`, `{"origin":{"epoch":-5}}`, `{"origin":{"epoch":-9223372036854775808}}`, `{"metadata":{"a":"b","a":"c"}}`, `{"metadata":{"a":null}}`, `{"metadata":{}}`, `{"route":[]}`, `{"template":true}`, `{"template":tru`,
		`{"accepted_at":"2026-01-01T00:00:00+03:00"}`, `{"accepted_at":"2026-01-01"}`, `{"send_at":null}`, `{"time":"2026-01-01T00:00:00Z","messages":[{"index":0,"error":{"code":"x"}}]}`, `{"id":"`, `{"id":"\`, `{"id"`,
	} {
		samePiece(t, []byte(data))
		sameEvent(t, []byte(data))
	}
}

func FuzzDecodePiece(f *testing.F) {
	f.Add([]byte(`{"id":"a","tenant":"t","messages":[{"i":0,"to":"+1","vars":{"a":"<"},"seg":1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) { samePiece(t, data); sameEvent(t, data) })
}

func benchPiece(n int) *envelope.Piece {
	now := time.Now().UTC()
	p := &envelope.Piece{
		ID: "01M7WGB2FQ7XCZKE0000000001", Tenant: "acme", Priority: envelope.Normal, Account: "bulk", From: "ACME", Text: strings.Repeat("text ", 16),
		AcceptedAt: now, ExpiresAt: now, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	for i := range n {
		p.Messages = append(p.Messages, envelope.Message{Index: i, To: "+254712345678", Segments: 1})
	}
	return p
}

func BenchmarkPiece(b *testing.B) {
	for _, n := range []int{1, 1000} {
		p := benchPiece(n)
		data := envelope.AppendPiece(nil, p)
		for name, decode := range map[string]func([]byte, *envelope.Piece) error{
			"std": func(data []byte, p *envelope.Piece) error { return json.Unmarshal(data, p) }, "ours": envelope.DecodePiece,
		} {
			b.Run(fmt.Sprintf("decode/%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					var p envelope.Piece
					if err := decode(data, &p); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("encode/std/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := json.Marshal(p); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("encode/ours/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				envelope.AppendPiece(nil, p)
			}
		})
	}
}
