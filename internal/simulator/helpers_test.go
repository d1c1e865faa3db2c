package simulator

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fixture(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// clock is a settable clock.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// request is one call of an API, well authorised unless header says otherwise.
type request struct {
	typ, method, path, body string
	header                  http.Header
}

func (q request) build(rootURL string, s *Simulator) *http.Request {
	if q.method == "" {
		q.method = http.MethodPost
	}
	r, err := http.NewRequest(q.method, s.BaseURL(rootURL, q.typ)+q.path, strings.NewReader(q.body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/json")
	cred := func(k string) string { return s.credential(q.typ, k) }
	switch q.typ {
	case CloudRebue:
		r.Header.Set("Accept", "application/json")
		r.Header.Set("Authorization", "Bearer "+cred("token"))
	case SMSBox:
		r.SetBasicAuth(cred("api_key"), cred("api_secret"))
	case BulkSMSRates:
		r.Header.Set("X-API-Key", cred("api_key"))
		r.Header.Set("X-API-Secret", cred("api_secret"))
	case DigitalServices:
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	case SMSScheduler:
		r.Header.Set("Authorization", "bearer "+cred("token"))
	}
	for k, v := range q.header {
		if v == nil {
			r.Header.Del(k)
			continue
		}
		r.Header[k] = v
	}
	return r
}

// do asks the handler without a network.
func (q request) do(s *Simulator) *httptest.ResponseRecorder {
	r := q.build("http://sim.test", s)
	r.RequestURI = r.URL.RequestURI()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

func cloudSend(phone string, more ...string) request {
	return request{typ: CloudRebue, path: "/send-sms",
		body: `{"sender":"ACME","message":"Hello","phone":"` + phone + `"` + strings.Join(more, "") + `}`}
}

func bulkSend(body string) request { return request{typ: BulkSMSRates, path: "/sms/bulk", body: body} }

func dscSend(s *Simulator, rest string) request {
	return request{typ: DigitalServices, path: "/sms/send", body: "api_key=" + s.credential(DigitalServices, "api_key") +
		"&username=" + s.credential(DigitalServices, "username") + "&password=" + s.credential(DigitalServices, "password") + "&" + rest}
}

// one sends a harmless message by each type.
func one(s *Simulator, typ string) request {
	switch typ {
	case CloudRebue:
		return cloudSend("254712345678")
	case SMSBox:
		return request{typ: typ, path: "/send_sms", body: `{"source_addr":"INFO","encoding":0,"message":"Hi","recipients":[{"recipient_name":"","dest_addr":"+22670000000"}]}`}
	case BulkSMSRates:
		return bulkSend(`{"recipients":[{"to":"+447700900123"}],"from":"MyApp","body":"Hi"}`)
	case DigitalServices:
		return dscSend(s, "recipients=250782589800&message=Hi")
	}
	return request{typ: SMSScheduler, path: "/sms", body: `{"message_text":"Hi","delivery_date":"2020-01-01 00:00:00","sender_id":1,"phone_numbers":"+33612345678"}`}
}

func parse(t *testing.T, body string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, body)
	}
	return v
}

// at walks a parsed document: at(v, "data", 0, "id").
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

var (
	comment  = regexp.MustCompile(`/\*.*?\*/`)
	trailing = regexp.MustCompile(`,\s*([}\]])`)
	phoneKey = regexp.MustCompile(`^\+?[0-9]+$`)
)

// documented parses an example of a document, mending what JSON does not allow.
func documented(t *testing.T, name string) any {
	t.Helper()
	s := comment.ReplaceAllString(fixture(t, name), "")
	s = strings.ReplaceAll(s, "'", `"`)
	return parse(t, trailing.ReplaceAllString(s, "$1"))
}

// shape lists the key paths of a document with the kinds of their values;
// items of arrays and numbers as keys fall together.
func shape(v any) []string {
	seen := map[string]bool{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				if phoneKey.MatchString(k) {
					k = "NUMBER"
				}
				walk(path+"."+k, x)
			}
		case []any:
			for _, x := range v {
				walk(path+"[]", x)
			}
		case string:
			seen[path+" string"] = true
		case float64:
			seen[path+" number"] = true
		case bool:
			seen[path+" bool"] = true
		case nil:
			seen[path+" null"] = true
		}
	}
	walk("", v)
	out := make([]string, 0, len(seen))
	for k := range seen {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// served is a simulator on a real port whose callbacks are being sent.
type served struct {
	*Simulator
	url    string
	client *http.Client
}

func serve(t *testing.T, o Options) served {
	t.Helper()
	s := New(o)
	srv := httptest.NewServer(s.Handler())
	transport := &http.Transport{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		srv.CloseClientConnections()
		srv.Close()
	})
	return served{s, srv.URL, &http.Client{Transport: transport}}
}

// send makes a request over the network; body and status are zero on failure.
func (s served) send(q request) (status int, header http.Header, body string, err error) {
	resp, err := s.client.Do(q.build(s.url, s.Simulator))
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(b), err
}

func (s served) control(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// hook is one callback that arrived.
type hook struct {
	method, url, body string
	header            http.Header
}

// receiver takes callbacks and answers what answer says (nil: 200).
type receiver struct {
	url   string
	hooks chan hook
}

func receive(t *testing.T, answer func(n int, h hook) (int, string)) receiver {
	t.Helper()
	rec := receiver{hooks: make(chan hook, 10_000)}
	var mu sync.Mutex
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		h := hook{r.Method, r.URL.String(), string(b), r.Header}
		mu.Lock()
		n++
		i := n
		mu.Unlock()
		status, body := 200, ""
		if answer != nil {
			status, body = answer(i, h)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		rec.hooks <- h
	}))
	t.Cleanup(srv.Close)
	rec.url = srv.URL
	return rec
}

func (r receiver) next(t *testing.T) hook {
	t.Helper()
	select {
	case h := <-r.hooks:
		return h
	case <-time.After(10 * time.Second):
		t.Fatal("no callback came")
		return hook{}
	}
}

func signature(secret, stamp, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "." + body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}
