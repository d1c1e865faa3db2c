package httpapi

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tuma-sms/tuma/pkg/providers"
)

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

func TestFailure(t *testing.T) {
	t.Parallel()
	c := client(t, "https://gateway.example")
	want := map[providers.Class][]int{
		providers.Throttled:     {429},
		providers.Misconfigured: {300, 301, 302, 303, 304, 307, 308, 401, 402, 403, 404, 405, 406, 410, 415},
		providers.RejectedHere:  {400, 409, 411, 413, 414, 417, 418, 422, 426, 431, 451},
		providers.Uncertain:     {101, 200, 201, 202, 204, 206, 299, 408, 500, 501, 502, 503, 504, 507, 520, 522, 524, 599, 600, 999},
	}
	for class, statuses := range want {
		for _, status := range statuses {
			e := c.Failure(&Response{Status: status, Header: http.Header{"Retry-After": {"7"}}})
			if e.Class != class || e.Status != status || e.Bisect != (class == providers.RejectedHere) {
				t.Errorf("%d: %v, bisect %v; want %v", status, e.Class, e.Bisect, class)
			}
			if class == providers.Throttled && e.RetryAfter != 7*time.Second {
				t.Errorf("%d: RetryAfter %v", status, e.RetryAfter)
			}
		}
	}
	for status, class := range map[int]providers.Class{408: providers.Unavailable, 503: providers.Unavailable, 429: providers.Throttled, 200: providers.Uncertain} {
		if e := c.Failure(&Response{Status: status, Partial: true}); e.Class != class {
			t.Errorf("partial %d: %v, want %v", status, e.Class, class)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	tests := map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, " 90 ": 90 * time.Second, "3600": time.Hour, "3601": time.Hour,
		"1000000000000": time.Hour, "99999999999999999999999": time.Hour,
		"-1": 0, "+5": 0, "1.5": 0, "1e12": 0, "soon": 0, "０": 0,
		now.Add(30 * time.Second).Format(http.TimeFormat): 30 * time.Second,
		now.Add(-time.Hour).Format(http.TimeFormat):       0,
		"Thu, 31 Dec 2099 23:59:59 GMT":                   time.Hour,
		"Thu, 31 Dec 2099":                                0,
	}
	for in, want := range tests {
		if got := RetryAfter(http.Header{"Retry-After": {in}}, now); got != want {
			t.Errorf("%q: got %v, want %v", in, got, want)
		}
	}
	if got := RetryAfter(nil, now); got != 0 {
		t.Errorf("no header: %v", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"7", "-1", "Thu, 31 Dec 2099 23:59:59 GMT", "1e12"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := RetryAfter(http.Header{"Retry-After": {s}}, time.Unix(0, 0)); d < 0 || d > time.Hour {
			t.Errorf("%q: %v", s, d)
		}
	})
}

func TestTrim(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"":                                      "",
		" Invalid\r\n\tSender \x00 Id\x1b[31m ": "Invalid Sender Id [31m",
		"Invalid phone numbers: 0781234567":     "Invalid phone numbers: #",
		"+254 712-345.678 is off":               "+# is off",
		"code 111, 15 SMS/day":                  "code 111, 15 SMS/day",
		"bad \xff utf8":                         "bad utf8",
		strings.Repeat("é", 150):                strings.Repeat("é", 100),
		strings.Repeat("a", 199) + "é":          strings.Repeat("a", 199),
	}
	for in, want := range tests {
		if got := Trim(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestTrimHolds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.String().Draw(t, "in") + rapid.StringMatching(`[0-9 \-]{0,40}`).Draw(t, "digits") + string(rapid.SliceOfN(rapid.Byte(), 0, 400).Draw(t, "bytes"))
		for _, c := range []struct {
			got  string
			most int
		}{{Trim(in), 200}, {Word(in), 64}} {
			if len(c.got) > c.most || !utf8.ValidString(c.got) || strings.ContainsFunc(c.got, unicode.IsControl) {
				t.Fatalf("%q -> %q", in, c.got)
			}
		}
		if number.MatchString(Trim(in)) {
			t.Fatalf("a number is left in %q", Trim(in))
		}
	})
}

func TestE164(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"254712345678": "+254712345678", "+254712345678": "+254712345678", "00254712345678": "+254712345678",
		"+254 712-345 678": "+254712345678", "(254) 712.345.678": "+254712345678",
		"": "", "0712345678": "", "712345": "", "2547XXXXXXXX": "", "1234567890123456": "", "+": "", "२५४७१२३४५६७८": "",
	} {
		if got := E164(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestScalar(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`"2"`: "2", `2`: "2", `118579716123456789`: "118579716123456789", `1.2e8`: "1.2e8", `-1`: "-1",
		`true`: "true", `null`: "", `"é"`: "é", `"` + strings.Repeat("x", 10_000) + `"`: strings.Repeat("x", 128),
	} {
		var got struct{ V Scalar }
		if err := json.Unmarshal([]byte(`{"v":`+in+`}`), &got); err != nil || string(got.V) != want {
			t.Errorf("%.20s: got %q, %v; want %q", in, got.V, err, want)
		}
	}
	for _, in := range []string{`{}`, `[1]`, `[]`} {
		var got struct{ V Scalar }
		if err := json.Unmarshal([]byte(`{"v":`+in+`}`), &got); err == nil {
			t.Errorf("%s is no scalar, got %q", in, got.V)
		}
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int{
		`{}`: 1, ` {"a":1} `: 1, `[]`: 0, `[{},1,null]`: 3,
		``: -1, `null`: -1, `1`: -1, `"x"`: -1, `{} {}`: -1, `{}x`: -1, `{`: -1, `<html>`: -1,
		strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000): -1,
	} {
		list, array, err := Objects([]byte(in))
		if (err != nil) != (want < 0) || err == nil && (len(list) != want || array != strings.HasPrefix(in, "[")) {
			t.Errorf("%.20s: %d, array %v, %v; want %d", in, len(list), array, err, want)
		}
	}
}

func TestCredential(t *testing.T) {
	t.Parallel()
	creds := map[string]string{"api_key": "canary", "api_secret": ""}
	if err := Credential(creds, "api_key"); err != nil {
		t.Error(err)
	}
	err := Credential(creds, "api_key", "api_secret", "other")
	if err == nil || !strings.Contains(err.Error(), "api_secret") || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v, want an error that names api_secret", err)
	}
	if err := OnlyOptions(map[string]any{"sandbox": true, "sandbx": true}, "sandbox"); err == nil || !strings.Contains(err.Error(), "sandbx") {
		t.Errorf("got %v, want an error that names sandbx", err)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		vars map[string]string
		want string
		ok   bool
	}{
		{"Hi {{name}}", nil, "Hi {{name}}", true},
		{"Hi {{name}}", map[string]string{"name": "{{x}}"}, "Hi {{x}}", true},
		{"Hi {{name}}", map[string]string{}, "", false},
	}
	for _, tt := range tests {
		got, err := Text(&providers.Message{Text: tt.text, Variables: tt.vars})
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q %v: got %q, %v", tt.text, tt.vars, got, err)
		}
	}
}

func TestStrike(t *testing.T) {
	t.Parallel()
	c := &Client{secrets: []string{"pass word&1", "demo", "a-long-api-key", "250788822935"}}
	sent := http.Header{"Authorization": {"Basic dXNlcjpwYXNzd29yZA=="}, "Accept": {"application/json"}}
	for body, want := range map[string]string{
		`{"key":"a-long-api-key","again":"a-long-api-key"}`: `{"key":"**************","again":"**************"}`,
		`pass word&1 pass+word%261`:                         `*********** *************`,
		`Basic dXNlcjpwYXNzd29yZA== dXNlcjpwYXNzd29yZA==`:   `************************** ********************`,
		`demo application/json`:                             `demo application/json`,
		`{"recipient":"250788822935"}`:                      `{"recipient":"250788822935"}`, // a user name
	} {
		got := []byte(body)
		if c.strike(got, sent); string(got) != want {
			t.Errorf("%s became %s", body, got)
		}
	}
}
