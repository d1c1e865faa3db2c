package dlr_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/all"
)

func adapter(t testing.TB, name string, credentials ...string) providers.Provider {
	t.Helper()
	creds := map[string]string{}
	for i := 0; i < len(credentials); i += 2 {
		creds[credentials[i]] = credentials[i+1]
	}
	p, err := all.Factories()[name](providers.Options{
		Account: account, BaseURL: "http://127.0.0.1:1", Credentials: creds, Timeout: time.Second, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// None of these stores anything, whatever comes in it.
func TestBadCallbacksAreNotStored(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	good := w.path(1)
	long := strings.Repeat("x", 70<<10)
	for name, c := range map[string]struct {
		method, path, body string
		status             int
	}{
		"unknown account":         {"POST", "/dlr/nobody/" + secret, "[]", 404},
		"no token":                {"POST", "/dlr/gw", "[]", 404},
		"wrong token":             {"POST", "/dlr/gw/wrong", "[]", 404},
		"the secret is no batch":  {"POST", "/dlr/gw/" + secret, "[]", 404},
		"another account's token": {"POST", "/dlr/gw/" + dlr.Token(secret, "other", "t1-1"), "[]", 404},
		"retired secret":          {"POST", "/dlr/gw/" + dlr.Token("oldest", account, "t1-1"), "[]", 404},
		"cut token":               {"POST", good[:len(good)-1], "[]", 404},
		"deeper path":             {"POST", good + "/x", "[]", 404},
		"outside":                 {"POST", "/", "[]", 404},
		"escaped outside":         {"POST", "/dlr/gw%2f..%2fx/" + secret, "[]", 404},
		"HEAD":                    {"HEAD", good + "?a=b", "", 405},
		"OPTIONS":                 {"OPTIONS", good + "?a=b", "", 405},
		"PUT":                     {"PUT", good, "[]", 405},
		"TRACE":                   {"TRACE", good + "?a=b", "", 405},
		"preview":                 {"GET", good, "", 400},
		"empty":                   {"POST", good, "", 400},
		"too large":               {"POST", good, long, 413},
		"semicolons":              {"GET", good + "?a=1;b=2", "", 400},
		"broken escape":           {"GET", good + "?a=%zz", "", 400},
		"inbound without a token": {"POST", "/inbound/gw", "{}", 404},
		"inbound by capability":   {"POST", strings.Replace(good, "/dlr/", "/inbound/", 1), "{}", 404},
		"inbound by GET":          {"GET", "/inbound/gw/" + secret + "?a=b", "", 405},
	} {
		t.Run(name, func(t *testing.T) {
			if status, body := w.send(c.method, c.path, c.body, nil); status != c.status || strings.Contains(body, "gw") {
				t.Errorf("answered %d %q, want %d", status, body, c.status)
			}
		})
	}
	if n := w.stored(bus.CallbackStream); n != 0 {
		t.Errorf("%d callbacks stored", n)
	}
}

func TestSignatureStandsForTheToken(t *testing.T) {
	t.Parallel()
	p := adapter(t, "bulksmsrates", "api_key", "k", "api_secret", "s", "webhook_secret", "hook")
	w := start(t, setup{provider: p})
	body := `{"event":"message.delivered","data":{"message_id":"m1","destination":"+254700000001"}}`
	sign := func(secret, stamp, body string) http.Header {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(stamp + "." + body))
		return http.Header{
			"X-Webhook-Signature": {"sha256=" + hex.EncodeToString(mac.Sum(nil))}, "X-Webhook-Timestamp": {stamp}, "X-Webhook-Id": {"wh_1"},
		}
	}
	at := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }
	with := func(h http.Header, name string, values ...string) http.Header { h[name] = values; return h }
	fine := sign("hook", at(0), body)
	for name, c := range map[string]struct {
		path, body string
		header     http.Header
		status     int
	}{
		"unsigned":            {"/dlr/gw", body, nil, 401},
		"wrong secret":        {"/dlr/gw", body, sign("other", at(0), body), 401},
		"sha1":                {"/dlr/gw", body, with(sign("hook", at(0), body), "X-Webhook-Signature", "sha1=00"), 401},
		"twice":               {"/dlr/gw", body, with(sign("hook", at(0), body), "X-Webhook-Signature", fine["X-Webhook-Signature"][0], "x"), 401},
		"short":               {"/dlr/gw", body, with(sign("hook", at(0), body), "X-Webhook-Signature", "sha256=00"), 401},
		"white space changed": {"/dlr/gw", body + " ", sign("hook", at(0), body), 401},
		"an hour ago":         {"/dlr/gw", body, sign("hook", at(-time.Hour), body), 401},
		"in an hour":          {"/dlr/gw", body, sign("hook", at(time.Hour), body), 401},
		"milliseconds":        {"/dlr/gw", body, sign("hook", at(0)+"000", body), 401},
		"no number":           {"/dlr/gw", body, sign("hook", "soon", body), 401},
		"negative":            {"/dlr/gw", body, sign("hook", "-1", body), 401},
		"1e30":                {"/dlr/gw", body, sign("hook", "1e30", body), 401},
		"wrong token, signed": {"/dlr/gw/wrong", body, sign("hook", at(0), body), 404},
		"token, unsigned":     {"/dlr/gw/" + secret, body, nil, 401},
	} {
		t.Run(name, func(t *testing.T) {
			if status, _ := w.send("POST", c.path, c.body, c.header); status != c.status {
				t.Errorf("answered %d, want %d", status, c.status)
			}
		})
	}
	if n := w.stored(bus.CallbackStream); n != 0 {
		t.Fatalf("%d callbacks stored", n)
	}
	// Three tries over 335 s carry the first one's stamp: the third still counts.
	in := w.intend(w.queue("E", number(1)))
	w.outcome(in, 1, idempotency.Closed, submitted("m1"))
	for range 2 {
		if status, _ := w.send("POST", "/dlr/gw", body, sign("hook", at(-6*time.Minute), body)); status != 200 {
			t.Errorf("answered %d", status)
		}
	}
	w.wantTold("submitted E-0", "delivered E-0")
	if n := w.stored(bus.CallbackStream); n != 1 {
		t.Errorf("%d callbacks stored", n)
	}
}

func TestDigitalServices(t *testing.T) {
	t.Parallel()
	p := adapter(t, "digitalservices", "api_key", "k", "username", "u", "password", "p", "dlr_username", "SmsUser", "dlr_password", "canary-pass")
	w := start(t, setup{provider: p})
	in := w.intend(w.queue("E", "+250782589800"))
	w.outcome(in, 1, idempotency.Closed, submitted("b"))
	path := w.path(in)
	fine := "dnis=250782589800&username=SmsUser&password=canary-pass&command=deliver&dlvrMsgId=118579716&dlvrMsgStat=D"
	for name, query := range map[string]string{
		"wrong password": strings.Replace(fine, "canary-pass", "x", 1),
		"no password":    strings.Replace(fine, "&password=canary-pass", "", 1),
		"both minds":     fine + "&dlvrMsgStat=U",
	} {
		if status, _ := w.send("GET", path+"?"+query, "", nil); status != 401 && status != 400 {
			t.Errorf("%s: answered %d", name, status)
		}
	}
	if status, _ := w.send("POST", path, url.Values{"dlvrMsgStat": {"D"}}.Encode(), nil); status != 401 {
		t.Errorf("POST answered %d", status)
	}
	if n := w.stored(bus.CallbackStream); n != 0 {
		t.Fatalf("%d callbacks stored", n)
	}
	// The gateway puts its parameters behind ours, which nobody filled in.
	open := "?dnis=$dnis$&username=SmsUser&password=canary-pass&command=deliver&dlvrMsgId=$messageID$&dlvrMsgStat=$status$?"
	if status, _ := w.send("GET", path+open+fine, "", nil); status != 200 {
		t.Errorf("answered %d", status)
	}
	w.wantTold("submitted E-0", "delivered E-0")
	m, err := w.bus.Get(t.Context(), bus.CallbackStream, 1)
	if err != nil || strings.Contains(string(m.Data), "canary-pass") || strings.Contains(string(m.Data), "SmsUser") {
		t.Errorf("stored %s, %v", m.Data, err)
	}
}

func TestCloudRebueAndSMSBox(t *testing.T) {
	t.Parallel()
	t.Run("cloudrebue", func(t *testing.T) {
		t.Parallel()
		w := start(t, setup{provider: adapter(t, "cloudrebue", "token", "x")})
		in := w.intend(w.queue("E", number(1), number(1)[:12]+"2"))
		w.outcome(in, 2, idempotency.Closed, submitted("b"))
		body := `{"phone":"254700000001","correlator":"E-0","uniqueId":"u-1","deliveryStatus":"DeliveredToTerminal","deliveryTime":"2020-01-01 00:00:00"}`
		if status, _ := w.send("POST", w.path(in), body, nil); status != 200 {
			t.Errorf("answered %d", status)
		}
		w.wantTold("submitted E-0", "submitted E-1", "delivered E-0")
		w.send("POST", w.path(in), strings.Replace(body, "E-0", "E-1", 1), nil) // one message's correlator, the other's number
		w.until(func() bool { return w.counts.of(dlr.Quarantined) == 1 })
	})
	t.Run("smsbox", func(t *testing.T) {
		t.Parallel()
		w := start(t, setup{provider: adapter(t, "smsbox", "api_key", "k", "api_secret", "s"), inbound: map[string]string{"15000": tenant}})
		in := w.intend(w.queue("E", number(1), number(2)))
		w.outcome(in, 2, idempotency.Closed, submitted("77"))
		w.send("POST", "/dlr/gw/older", `message_id=77&dest_addr=254700000002&status=delivered`, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
		w.send("POST", "/dlr/gw/"+secret, `{"request_id": 77, "phone": "254700000001", "status": "UNDELIVERED"}`, nil)
		w.until(func() bool { return len(w.told()) == 4 })
		w.until(func() bool { // the statuses follow the events
			now, _ := w.statuses.Current("E-0")
			return now == envelope.Undelivered
		})
		status, answer := w.send("POST", "/inbound/gw/"+secret, `{"from":"254700000001","to":"15000","timeUTC":"Wed, 14 Jun 2017 07:00:00 GMT","transaction_id":"t9","message":{"text":"hello"}}`, nil)
		if status != 200 || strings.ReplaceAll(answer, " ", "") != `{"transaction_id":"t9","successful":true}` {
			t.Errorf("answered %d %s", status, answer)
		}
		w.until(func() bool { return w.stored(bus.InboundStream) == 1 })
	})
}

func TestNoSecretNumberOrTextInLogs(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	in := w.intend(w.queue("E", number(1)))
	w.outcome(in, 1, idempotency.Unsettled, submitted("b"))
	for _, body := range []string{
		`rubbish-text-canary`, `[{"To":"+254700000001","Status":2}]`, `[{"To":"+254799999999","Status":2}]`, `[{"MessageID":"text-canary"}]`,
	} {
		w.send("POST", w.path(in)+"?q=query-canary", body, nil)
	}
	w.send("POST", "/inbound/gw/"+secret, `{"id":"t","from":"+254799999999","to":"1","text":"text-canary"}`, nil)
	w.until(func() bool {
		return w.counts.of(dlr.Poison) == 1 && w.counts.of(dlr.Quarantined) == 1 && w.counts.of(dlr.Matched) == 1 && w.counts.of(dlr.Homeless) == 1
	})
	token := w.path(in)[len("/dlr/gw/"):]
	for _, canary := range []string{secret, token, token[strings.Index(token, ".")+1:], "text-canary", "query-canary", "2547"} {
		if strings.Contains(w.logs.String(), canary) {
			t.Errorf("%q in the logs:\n%s", canary, w.logs)
		}
	}
	if w.logs.String() == "" {
		t.Error("nothing was logged at all")
	}
}

func TestWithoutBusNothingIsPromised(t *testing.T) {
	t.Parallel()
	w := start(t, setup{provider: &gateway{urls: true}})
	path := w.path(1)
	w.stop()
	w.until(func() bool { return !w.bus.Connected() })
	body := strings.NewReader("[]")
	resp, err := http.Post(w.url+path, "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("answered %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
}

// BenchmarkReports measures reports from the HTTP request to the stored event.
func BenchmarkReports(b *testing.B) {
	const batch, senders = 100, 64
	w := start(b, setup{provider: adapter(b, "cloudrebue", "token", "x")})
	n := max(b.N, batch)
	type job struct{ path, body string }
	var jobs []job
	for e := 0; len(jobs) < n; e++ {
		var numbers []string
		for i := range batch {
			numbers = append(numbers, number(e*batch+i))
		}
		id := fmt.Sprintf("E%d", e)
		in := w.intend(w.queue(id, numbers...))
		w.outcome(in, batch, idempotency.Closed, submitted("b"))
		path := w.path(in)
		for i := range batch {
			jobs = append(jobs, job{path, fmt.Sprintf(`{"phone":"%s","correlator":"%s-%d","uniqueId":"u%d","deliveryStatus":"DeliveredToTerminal","deliveryTime":"2020-01-01 00:00:00"}`, numbers[i][1:], id, i, i)})
		}
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}}
	defer client.CloseIdleConnections()
	feed := make(chan job, senders)
	b.ResetTimer()
	var sending sync.WaitGroup
	for range senders {
		sending.Go(func() {
			for j := range feed {
				resp, err := client.Post(w.url+j.path, "application/json", strings.NewReader(j.body))
				if err != nil || resp.StatusCode != 200 {
					b.Error(err, resp)
					return
				}
				resp.Body.Close()
			}
		})
	}
	for _, j := range jobs {
		feed <- j
	}
	close(feed)
	sending.Wait()
	answered := b.Elapsed()
	w.until(func() bool { return w.counts.of(dlr.Matched) >= len(jobs) })
	b.ReportMetric(float64(len(jobs))/answered.Seconds(), "answered/s")
	b.ReportMetric(float64(len(jobs))/b.Elapsed().Seconds(), "events/s")
	w.mu.Lock()
	events, told := 0, 0
	for _, e := range w.events {
		if e.Status == envelope.Delivered {
			events, told = events+1, told+len(e.Messages)
		}
	}
	w.mu.Unlock()
	b.ReportMetric(float64(told)/float64(max(events, 1)), "reports/event")
}

// A webhook is taken once, also by a collector that has just started and by one
// that was not the first to get it.
func TestWebhookThatAnotherCollectorHasTaken(t *testing.T) {
	t.Parallel()
	p := adapter(t, "bulksmsrates", "api_key", "k", "api_secret", "s", "webhook_secret", "hook")
	w := start(t, setup{provider: p})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	other := w.collector(ctx, &running, setup{provider: p})
	running.Go(func() {
		if err := other.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	w.until(other.Ready)
	send := func(h http.Handler, id string) {
		t.Helper()
		body, stamp := `{"event":"balance.low","data":{"balance":1}}`, strconv.FormatInt(time.Now().Unix(), 10)
		mac := hmac.New(sha256.New, []byte("hook"))
		mac.Write([]byte(stamp + "." + body))
		r := httptest.NewRequest(http.MethodPost, "/dlr/gw", strings.NewReader(body))
		r.Header = http.Header{
			"X-Webhook-Signature": {"sha256=" + hex.EncodeToString(mac.Sum(nil))}, "X-Webhook-Timestamp": {stamp}, "X-Webhook-Id": {id},
		}
		answer := httptest.NewRecorder()
		if h.ServeHTTP(answer, r); answer.Code != http.StatusOK {
			t.Errorf("answered %d", answer.Code)
		}
	}
	send(other.Handler(), "wh_1")
	send(other.Handler(), "wh_2")
	later := w.collector(ctx, &running, setup{provider: p})
	running.Go(func() {
		if err := later.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	w.until(later.Ready)
	send(later.Handler(), "wh_1")
	if stored, repeated := w.counts.of(dlr.Stored), w.counts.of(dlr.Repeated); stored != 2 || repeated != 1 {
		t.Errorf("%d stored, %d repeated", stored, repeated)
	}
}
