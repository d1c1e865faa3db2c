package badinput

import (
	"bytes"
	"encoding/json"
	"fmt"
	"github.com/tuma-sms/tuma/test/rig"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// request is one message as cloudrebue is told it.
type request struct{ Phone, Correlator, Message, Endpoint string }

// gateway answers as cloudrebue does, or with what a test has it say.
type gateway struct {
	url string

	mu      sync.Mutex
	next    *badAnswer // to the next request
	got     []request
	asked   int // requests
	endless int // bytes that it got rid of in an answer without end
	cookies int
}

func newGateway(t *testing.T) *gateway {
	g := &gateway{}
	s := httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(s.Close)
	g.url = s.URL
	return g
}

func (g *gateway) serve(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	var items []request
	if json.Unmarshal(data, &items) != nil {
		items = make([]request, 1)
		_ = json.Unmarshal(data, &items[0])
	}
	g.mu.Lock()
	bad := g.next
	g.next = nil
	g.got = append(g.got, items...)
	g.asked++
	g.cookies += len(r.Cookies())
	g.mu.Unlock()
	if bad != nil {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		answer := strings.NewReplacer("CORRELATOR", items[0].Correlator, "PHONE", items[0].Phone).Replace(bad.answer)
		_, body, _ := strings.Cut(answer, "\r\n\r\n")
		_, err = io.WriteString(conn, strings.Replace(answer, "LENGTH", strconv.Itoa(len(body)), 1))
		sent := 0
		for bad.endless != "" && err == nil {
			_, err = io.WriteString(conn, bad.endless)
			sent += len(bad.endless)
		}
		g.mu.Lock()
		g.endless = max(g.endless, sent)
		g.mu.Unlock()
		return
	}
	w.Header().Set("Set-Cookie", "track=me; Path=/")
	var list []string
	for _, it := range items {
		list = append(list, fmt.Sprintf(`{"status":true,"message":"Message successfully queued!","data":{"correlator":%q,"uniqueId":"u-1","phone":%q,"sms_units":1}}`, it.Correlator, it.Phone))
	}
	fmt.Fprintf(w, "[%s]", strings.Join(list, ","))
}

// last is the last message that came.
func (g *gateway) last() request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got[len(g.got)-1]
}

func (g *gateway) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.got)
}

func (g *gateway) requests() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked
}

// badAnswer is what a gateway says to one request, byte by byte.
type badAnswer struct {
	row     int // of the list
	name    string
	answer  string
	endless string // then this, until the connection ends
	becomes string // what is told of the message
}

func badAnswers() []badAnswer {
	const (
		uncertain, submitted = `"status":"uncertain"`, `"status":"submitted"`
		ok                   = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	)
	whole := func(body string) string { return ok + "Content-Length: LENGTH\r\n\r\n" + body }
	taken := func(data string) string { return whole(`[{"status":true,"data":{` + data + `}}]`) }
	return []badAnswer{
		{68, "login page", whole("<!doctype html><html><body>Log in</body></html>"), "", uncertain},
		{68, "nothing", whole(""), "", uncertain},
		{68, "null", whole("null"), "", uncertain},
		{70, "comma at the end", whole(`[{"status":true,"data":{"correlator":"CORRELATOR",},},]`), "", uncertain},
		{70, "single quotes", whole(`[{'status':true}]`), "", uncertain},
		{71, "5 GB", ok + "Content-Length: 5368709120\r\n\r\n[", strings.Repeat(" ", 1<<16), uncertain},
		{71, "chunks without end", ok + "Transfer-Encoding: chunked\r\n\r\n", "10000\r\n" + strings.Repeat(" ", 1<<16) + "\r\n", uncertain},
		{72, "gzip", ok + "Content-Encoding: gzip\r\nContent-Length: 10\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", "", uncertain},
		{73, "longer than it is", ok + "Content-Length: 1000\r\n\r\n[{\"status\":true", "", uncertain},
		{82, "text after the answer", ok + "Content-Length: 2\r\n\r\n[]canary-text", "", uncertain},
		{73, "shorter than it is", ok + "Content-Length: 5\r\n\r\n[{\"status\":true,\"data\":{\"correlator\":\"CORRELATOR\"}}]", "", uncertain},
		{74, "no id", taken(`"correlator":"CORRELATOR","uniqueId":null`), "", submitted},
		{74, "float", taken(`"correlator":"CORRELATOR","uniqueId":1.2e8`), "", submitted},
		{74, "10 kB of id", taken(`"correlator":"CORRELATOR","uniqueId":"` + strings.Repeat("9", 10_000) + `"`), "", submitted},
		{74, "object", taken(`"correlator":"CORRELATOR","uniqueId":{"a":[]}`), "", submitted},
		{75, "another's number", taken(`"correlator":"x","phone":"254700999999"`), "", uncertain},
		{75, "written otherwise", taken(`"phone":"+PHONE"`), "", submitted},
		{75, "one too many", whole(`[{"status":true,"data":{"correlator":"x","phone":"254700999999"}},{"status":true,"data":{"correlator":"CORRELATOR"}}]`), "", submitted},
		{75, "none", whole(`[]`), "", uncertain},
		{76, "wait of nonsense", "HTTP/1.1 429 Slow\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", "", submitted},
		{76, "wait below zero", "HTTP/1.1 429 Slow\r\nRetry-After: -1\r\nContent-Length: 0\r\n\r\n", "", submitted},
		{76, "wait until yesterday", "HTTP/1.1 429 Slow\r\nRetry-After: Thu, 19 Nov 2020 12:00:00 GMT\r\nContent-Length: 0\r\n\r\n", "", submitted},
		{79, "1xx without end", "", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", uncertain},
		{79, "10 MB of header", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 10<<20), "", uncertain},
		{79, "header drop by drop", "HTTP/1.1 200 OK\r\nX: ", "", uncertain},
		{82, "echo of the text", taken(`"correlator":"CORRELATOR","message":"canary-text"`), "", submitted},
	}
}

// Whatever a gateway answers, its message is settled within the request's time, by
// what the answer proves, in bounded memory, and the next one goes on.
func TestBadAnswers(t *testing.T) {
	gw := newGateway(t)
	var library rig.Buffer // what net/http and others write past our log
	log.SetOutput(&library)
	p := start(t, gw.url)
	before := memory()
	for i, bad := range badAnswers() {
		gw.mu.Lock()
		gw.next = &bad
		gw.mu.Unlock()
		id := p.accepted(fmt.Sprintf(`{"to":"+2547110000%02d","from":"ACME","text":"canary-text"}`, i))
		p.becomes(id, bad.becomes)
		next := p.accepts()
		p.becomes(next, `"status":"submitted"`)
		if t.Failed() {
			t.Fatalf("row %d, %s", bad.row, bad.name)
		}
	}
	if after := memory(); after > before+128<<20 {
		t.Errorf("%d MiB are held after it, %d before", after>>20, before>>20)
	}
	gw.mu.Lock()
	defer gw.mu.Unlock()
	if gw.endless > 64<<20 || gw.endless == 0 { // 4 MiB are read, and what buffers hold
		t.Errorf("%d MiB of an endless answer were taken", gw.endless>>20)
	}
	if gw.cookies != 0 { // row 80
		t.Errorf("a gateway's cookie came back %d times", gw.cookies)
	}
	if strings.Contains(p.logs.String(), "canary-text") || library.String() != "" {
		t.Error("an echoed text is in the logs")
	}
}

// Texts that look like templates go out as they were typed, and values as they are.
// Rows 23 and 24.
func TestTextsAsTyped(t *testing.T) {
	t.Parallel()
	gw := newGateway(t)
	p := start(t, gw.url)
	for _, c := range []struct{ text, variables, want string }{
		{`{{name}} [{RECEIVERNAME}] ${x} %s <b>`, ``, `{{name}} [{RECEIVERNAME}] ${x} %s <b>`},
		{`Hi {{a}}`, `,"variables":{"a":"{{b}} {{a}}","b":"x"}`, `Hi {{b}} {{a}}`},
		{`Hi {{a}}`, `,"variables":{"a":"{{"}`, `Hi {{`},
		{`{{a}}{{b}}`, `,"variables":{"a":"{{","b":"a}}"}`, `{{a}}`},
	} {
		id := p.accepted(fmt.Sprintf(`{"to":"+254712345678","from":"ACME","text":%q%s}`, c.text, c.variables))
		p.becomes(id, `"status":"submitted"`)
		if got := gw.last().Message; got != c.want {
			t.Errorf("%s%s went as %q", c.text, c.variables, got)
		}
	}
}

// What a gateway took and then drops in silence is never called delivered: it stays
// submitted, and is told as such. (That it is told after 72 hours is proven where a
// clock can be turned.) Row 81.
func TestTakenAndDropped(t *testing.T) {
	t.Parallel()
	gw := newGateway(t)
	p := start(t, gw.url)
	var list []string
	for i := range 10_000 {
		list = append(list, fmt.Sprintf(`{"to":"+2547%08d"}`, i))
	}
	code, answer := p.call("POST", "http://"+p.api+"/v1/messages", `{"recipients":[`+strings.Join(list, ",")+`],"from":"ACME","text":"x"}`)
	var a struct{ ID string }
	if err := json.Unmarshal(answer, &a); code != 202 || err != nil {
		t.Fatalf("%d %.300s", code, answer)
	}
	p.eventually("all are submitted", func() bool {
		_, body := p.call("GET", "http://"+p.api+"/v1/envelopes/"+a.ID, "")
		return bytes.Contains(body, []byte(`"counts":{"submitted":10000}`))
	})
	if n := gw.count(); n != 10_000 {
		t.Errorf("the gateway got %d", n)
	}
	_, metrics := p.call("GET", "http://"+p.admin+"/metrics", "")
	if !bytes.Contains(metrics, []byte(`tuma_messages_total{account="cloudrebue",status="submitted"} 10000`)) || bytes.Contains(metrics, []byte(`status="delivered"`)) {
		t.Errorf("metrics:\n%s", metrics)
	}
}

// history is when what became of a message.
type history []time.Time

func (h history) ordered() bool { return slices.IsSortedFunc(h, time.Time.Compare) }

func (p *program) history(id string) (h history) {
	p.t.Helper()
	_, body := p.call("GET", "http://"+p.api+"/v1/messages/"+id, "")
	var m struct{ History []struct{ Time time.Time } }
	if err := json.Unmarshal(body, &m); err != nil {
		p.t.Fatal(err)
	}
	for _, e := range m.History {
		if age := time.Since(e.Time); age < 0 || age > time.Minute {
			p.t.Errorf("%s is dated %s", id, e.Time)
		}
		h = append(h, e.Time)
	}
	return h
}
