package envelope_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

func TestDecodeReadsEveryField(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("testdata", "full.json"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := envelope.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	sendAt := time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC)
	expires := time.Date(2026, 12, 1, 12, 0, 0, 0, time.FixedZone("", 3*3600))
	want := &envelope.Envelope{
		Recipients: []envelope.Recipient{
			{To: "+254712345678", Variables: map[string]string{"name": "Asha \"😀\" é"}, Ref: "order-17"},
			{To: "0712 345 679"},
		},
		From: "ACME", Text: "Hi {{name}}\n", Variables: map[string]string{"name": "you"},
		Priority: envelope.High, SendAt: &sendAt, ExpiresAt: &expires, Provider: "cloudrebue-ke",
		IdempotencyKey: "k-1", SupersedeKey: "otp-asha", OnUncertain: envelope.Retry, Ref: "r",
		Metadata: map[string]string{"k": "v"}, Channel: envelope.WhatsApp,
		Template: &envelope.Template{Name: "order_shipped", Language: "en", Parameters: []string{"{{name}}", "17"}},
		Options:  map[string]string{"unicode": "true"},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 1_000_000)
	for name, c := range map[string]struct{ json, field string }{
		"empty":                 {"", ""},
		"null":                  {"null", ""},
		"array":                 {"[]", ""},
		"string":                {`"x"`, ""},
		"number":                {"1", ""},
		"byte order mark":       {"\ufeff{}", ""},
		"cut":                   {`{"to":"+254712345678"`, ""},
		"cut in a string":       {`{"to":"+2547`, "to"},
		"no recipients":         {`{"from":"A","text":"x"}`, "to"},
		"zero recipients":       {`{"recipients":[],"from":"A"}`, "to"},
		"empty to":              {`{"to":""}`, "to"},
		"both":                  {`{"to":"+254712345678","recipients":[{"to":"+254712345678"}]}`, "to"},
		"both, one empty":       {`{"to":"+254712345678","recipients":[]}`, "to"},
		"unknown":               {`{"to":"+254712345678","sender":"A"}`, "sender"},
		"unknown inside":        {`{"recipients":[{"to":"+254712345678"},{"phone":"1"}]}`, "recipients[1].phone"},
		"other case":            {`{"TO":"+254712345678"}`, "TO"},
		"twice":                 {`{"to":"+254712345678","to":"+254712345679"}`, "to"},
		"twice by escape":       {`{"to":"+254712345678","t\u006f":"+254712345679"}`, "to"},
		"twice in variables":    {`{"variables":{"a":"1","a":"2"}}`, "variables.a"},
		"twice in recipient":    {`{"recipients":[{"ref":"a","ref":"b"}]}`, "recipients[0].ref"},
		"two documents":         {`{"to":"+254712345678"}{"to":"+254712345678"}`, ""},
		"garbage after":         {`{"to":"+254712345678"} x`, ""},
		"comma at the end":      {`{"to":"+254712345678",}`, ""},
		"comma missing":         {`{"to":"+254712345678" "from":"A"}`, ""},
		"single quotes":         {`{'to':'1'}`, ""},
		"number as text":        {`{"text":1e400}`, "text"},
		"number as to":          {`{"to":254712345678}`, "to"},
		"null text":             {`{"text":null}`, "text"},
		"boolean":               {`{"from":true}`, "from"},
		"recipients as strings": {`{"recipients":["+254712345678"]}`, "recipients[0]"},
		"recipients as object":  {`{"recipients":{}}`, "recipients"},
		"variable as number":    {`{"variables":{"n":1}}`, "variables.n"},
		"nesting":               {`{"metadata":` + deep, "metadata"},
		"nesting in metadata":   {`{"metadata":{"a":` + deep, "metadata.a"},
		"broken UTF-8":          {"{\"text\":\"\xff\"}", "text"},
		"overlong UTF-8":        {"{\"text\":\"\xc0\xaf\"}", "text"},
		"surrogate as UTF-8":    {"{\"text\":\"\xed\xa0\x80\"}", "text"},
		"high surrogate alone":  {`{"text":"\ud800"}`, "text"},
		"high then other":       {`{"text":"\ud800\u0041"}`, "text"},
		"low surrogate first":   {`{"text":"\udc00\ud800"}`, "text"},
		"bare control":          {"{\"text\":\"a\nb\"}", "text"},
		"unknown escape":        {`{"text":"\x41"}`, "text"},
		"short escape":          {`{"text":"\u00"}`, "text"},
		"time without zone":     {`{"send_at":"2026-12-01T08:00:00"}`, "send_at"},
		"30 February":           {`{"send_at":"2026-02-30T08:00:00Z"}`, "send_at"},
		"leap second":           {`{"send_at":"2026-12-31T23:59:60Z"}`, "send_at"},
		"comma for fraction":    {`{"send_at":"2026-12-31T23:59:59,5Z"}`, "send_at"},
		"hour of one digit":     {`{"send_at":"2026-12-31T8:00:00Z"}`, "send_at"},
		"zone of a day":         {`{"send_at":"2026-12-31T08:00:00+24:00"}`, "send_at"},
		"Unix time":             {`{"expires_at":1764576000}`, "expires_at"},
		"template's text":       {`{"template":{"name":"a","text":"b"}}`, "template.text"},
		"parameter as number":   {`{"template":{"parameters":["a",1]}}`, "template.parameters[1]"},
		"33 parameters":         {`{"template":{"parameters":["a"` + strings.Repeat(`,"a"`, 32) + `]}}`, "template.parameters[32]"},
		"option as boolean":     {`{"options":{"unicode":true}}`, "options.unicode"},
		"many fields":           {`{"metadata":{` + manyFields(100_000) + `}}`, "metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := envelope.Decode([]byte(c.json))
			var r *envelope.Refusal
			if !errors.As(err, &r) || r.Code != envelope.InvalidEnvelope || r.Field != c.field {
				t.Errorf("got %v; want a refusal of field %q", err, c.field)
			}
		})
	}
}

func TestDecodeCountsRecipients(t *testing.T) {
	t.Parallel()
	one := `{"to":"+254712345678"}`
	list := func(n int) []byte {
		return []byte(`{"recipients":[` + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + `]}`)
	}
	if _, err := envelope.Decode(list(envelope.MaxRecipients)); err != nil {
		t.Errorf("10,000 recipients: %v", err)
	}
	_, err := envelope.Decode(list(envelope.MaxRecipients + 1))
	var r *envelope.Refusal
	if !errors.As(err, &r) || r.Code != envelope.TooManyRecipients {
		t.Errorf("10,001 recipients: %v", err)
	}
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + strings.Repeat("a", i%50) + string(rune('a'+i%26)) + `":"x"`)
	}
	return b.String()
}

// FuzzDecode compares with encoding/json: what Decode takes, the standard
// library takes too and understands in the same way, and encoding it again
// loses nothing.
func FuzzDecode(f *testing.F) {
	if full, err := os.ReadFile(filepath.Join("testdata", "full.json")); err == nil {
		f.Add(full)
	}
	f.Add([]byte(`{"to":"+254712345678","from":"ACME","text":"x"}`))
	f.Add([]byte(`{"recipients":[{"to":"+254712345678","to":"1"}]}`))
	f.Add([]byte(`{"to":"\ud83d\ude00","variables":{"\u0000":""}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := envelope.Decode(data)
		if err != nil {
			return
		}
		want := new(envelope.Envelope)
		if err := json.Unmarshal(data, want); err != nil {
			t.Fatalf("encoding/json refuses what Decode takes: %v", err)
		}
		again, err := json.Marshal(got)
		if err != nil {
			return // a year beyond 9999 by its zone
		}
		ref, err := json.Marshal(want)
		if err != nil || string(again) != string(ref) {
			t.Fatalf("understood as %s, encoding/json says %s (%v)", again, ref, err)
		}
		if _, err := envelope.Decode(again); err != nil {
			t.Fatalf("cannot read %s again: %v", again, err)
		}
	})
}

func BenchmarkDecode1000(b *testing.B) {
	data := []byte(`{"recipients":[` + strings.TrimSuffix(strings.Repeat(`{"to":"+254712345678","variables":{"name":"Asha"},"ref":"order-17"},`, 1000), ",") + `],"from":"ACME","text":"Hi {{name}}"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := envelope.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
