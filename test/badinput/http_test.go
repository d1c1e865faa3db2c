package badinput

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// rawRequest is bytes for an HTTP port.
type rawRequest struct {
	row     int // of the list
	name    string
	request string
}

const (
	head = "Host: x\r\nAuthorization: Bearer demo\r\nContent-Type: application/json\r\n"
	body = `{"to":"+254700000000","from":"ACME","text":"smuggled"}`
)

func rawRequests() []rawRequest {
	post := func(headers, rest string) string {
		return "POST /v1/messages HTTP/1.1\r\n" + head + headers + "\r\n\r\n" + rest
	}
	var headers strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&headers, "X-%d: 1\r\n", i)
	}
	return []rawRequest{
		{3, "2 GB promised", post("Content-Length: 2147483648", body)},
		{3, "negative length", post("Content-Length: -1", "")},
		{3, "huge length", post("Content-Length: 99999999999999999999", "")},
		{5, "2 MB of header", post("X: "+strings.Repeat("x", 2<<20), "")},
		{5, "100,000 headers", post(headers.String()+"X: y", "")},
		{5, "key of a megabyte", "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + strings.Repeat("x", 1<<20) + "\r\n\r\n"},
		{5, "long method", strings.Repeat("A", 100_000) + " / HTTP/1.1\r\nHost: x\r\n\r\n"},
		{33, "key twice", post("Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 54", body)},
		{38, "UTF-16", "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo\r\nContent-Type: application/json; charset=utf-16\r\nContent-Length: 2\r\n\r\n{}"},
		{38, "multipart", "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 2\r\n\r\n{}"},
		{39, "gzip", post("Content-Encoding: gzip\r\nContent-Length: 4", "\x1f\x8b\x08\x00")},
		{40, "length and chunks", post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"+post("Content-Length: 54", body))},
		{40, "two lengths", post("Content-Length: 10\r\nContent-Length: 54", body)},
		{40, "length not a number", post("Content-Length: +54", body)},
		{40, "space before the colon", post("Content-Length : 54", body)},
		{40, "unknown coding", post("Transfer-Encoding: xchunked", body)},
		{40, "folded header", post("X: a\r\n b\r\nTransfer-Encoding:\r\n chunked", body)},
		{40, "chunk too large", post("Transfer-Encoding: chunked", "FFFFFFFFFFFFFFFFF\r\n")},
		{40, "chunk of letters", post("Transfer-Encoding: chunked", "xyz\r\n")},
		{40, "chunk extension", post("Transfer-Encoding: chunked", "1;"+strings.Repeat("x", 1<<20)+"\r\n")},
		{40, "bare line feed after a chunk", post("Transfer-Encoding: chunked", "1;\nx\n{\r\n0\r\n\r\n")},
		{40, "two hosts", "GET /v1/providers HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
		{40, "no host", "GET /v1/providers HTTP/1.1\r\n\r\n"},
		{40, "trailer with a secret", post("Transfer-Encoding: chunked\r\nTrailer: Authorization", "1\r\n{\r\n0\r\nAuthorization: Bearer x\r\n\r\n")},
		{40, "expects, sends none", "POST /v1/messages HTTP/1.1\r\nHost: x\r\nExpect: 200-maybe\r\nContent-Length: 54\r\n\r\n"},
		{40, "HTTP/9", "GET / HTTP/9.9\r\nHost: x\r\n\r\n"},
		{40, "rubbish", strings.Repeat("\x00\xff", 1000) + "\r\n\r\n"},
		{41, "HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\x00", 64)},
		{41, "HTTP/2, continuations", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\x00\x00\x01\x09\x00\x00\x00\x00\x01x", 100_000)},
		{41, "TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 200)},
		{42, "upgrade to h2c", post("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: 1", "{")},
		{43, "TRACE", "TRACE /v1/messages HTTP/1.1\r\n" + head + "\r\n"},
		{43, "HEAD", "HEAD /v1/messages HTTP/1.1\r\n" + head + "\r\n"},
		{43, "CONNECT", "CONNECT 127.0.0.1:22 HTTP/1.1\r\n" + head + "\r\n"},
		{43, "method in a header", "GET /v1/messages HTTP/1.1\r\n" + head + "X-HTTP-Method-Override: POST\r\nContent-Length: 54\r\n\r\n" + body},
		{44, "dots", "POST /v1/../admin/%2e%2e/%00 HTTP/1.1\r\n" + head + "\r\n"},
		{44, "slashes", "POST //v1//messages// HTTP/1.1\r\n" + head + "Content-Length: 54\r\n\r\n" + body},
		{44, "NUL in the path", "GET /v1/messages/\x00 HTTP/1.1\r\n" + head + "\r\n"},
		{44, "escaped NUL", "GET /v1/messages/%00 HTTP/1.1\r\n" + head + "\r\n"},
		{44, "absolute URL", "GET http://169.254.169.254/latest HTTP/1.1\r\n" + head + "\r\n"},
		{45, "many parameters", "GET /v1/dead?" + strings.Repeat("a=1&", 7000) + " HTTP/1.1\r\n" + head + "\r\n"},
		{45, "a megabyte of query", "GET /v1/dead?" + strings.Repeat("a=1&", 1<<18) + " HTTP/1.1\r\n" + head + "\r\n"},
		{46, "other scheme", "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ZGVtbzpkZW1v\r\nContent-Length: 54\r\nContent-Type: application/json\r\n\r\n" + body},
		{46, "no key", "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 54\r\n\r\n" + body},
		{49, "gone in mid-body", post("Content-Length: 10000", body)},
	}
}

// The three HTTP doors, by raw bytes: refused, or not understood, but never 5xx and
// never without an end. (501 is how net/http refuses a coding that it does not know.)
func TestRawHTTP(t *testing.T) {
	p := start(t, "")
	before := memory()
	var all sync.WaitGroup
	for door, to := range map[string]string{"api": p.api, "callbacks": p.dlr, "admin": p.admin} {
		for _, r := range rawRequests() {
			all.Go(func() {
				got := p.raw(to, r.request)
				refused := strings.HasPrefix(got, "HTTP/1.1 4") || strings.HasPrefix(got, "HTTP/1.1 3") || strings.HasPrefix(got, "HTTP/1.1 501") || strings.HasPrefix(got, "HTTP/1.1 505") || got == "closed"
				if harmless := r.name == "many parameters" && strings.HasPrefix(got, "HTTP/1.1 200"); !refused && !harmless {
					t.Errorf("row %d: %s: %s: %s", r.row, door, r.name, got)
				}
			})
		}
	}
	all.Wait()
	if after := memory(); after > before+128<<20 {
		t.Errorf("%d MiB are held after it, %d before", after>>20, before>>20)
	}
	p.goesOn()
	p.nothingElseStored()
}

// apiRequest is a request for another route of the API than that of submissions.
type apiRequest struct {
	row    int // of the list
	method string
	path   string
	body   string
	status int
	says   string
}

func apiRequests() []apiRequest {
	const optOut = `{"provider":"cloudrebue","number":"+254712345678"`
	ask := "/v1/providers/bulksmsrates/operations/senders"
	list := []apiRequest{
		{2, "POST", "/v1/opt-outs", "null", 400, "object"},
		{2, "POST", ask, "null", 400, "object"},
		{3, "POST", "/v1/opt-outs", strings.Repeat(" ", 17<<20), 413, "too_large"},
		{3, "POST", "/v1/dead/1/replay", strings.Repeat(" ", 17<<20), 404, "not_found"},
		{6, "POST", "/v1/opt-outs", strings.Repeat("[", 1_000_000), 400, "object"},
		{6, "POST", ask, `{"a":` + strings.Repeat("[", 1_000_000), 400, "object"},
		{7, "POST", "/v1/opt-outs", optOut + `,"opted_out":true,"opted_out":false}`, 400, `"field":"opted_out"`},
		{7, "POST", ask, `{"kind":"a","kind":"b"}`, 400, `"field":"kind"`},
		{8, "POST", "/v1/opt-outs", optOut + `,"OPTED_OUT":true}`, 400, `"field":"OPTED_OUT"`},
		{9, "POST", "/v1/opt-outs", optOut + `}{}`, 400, "object"},
		{10, "POST", "/v1/opt-outs", optOut + `,"optedout":true}`, 400, `"field":"optedout"`},
		{11, "POST", "/v1/opt-outs", "{\"provider\":\"\xff\"}", 400, "object"},
		{16, "POST", "/v1/opt-outs", `{"provider":"cloudrebue","number":"tel:+254712345678;ext=1"}`, 400, "to"},
		{52, "POST", "/v1/opt-outs", optOut + `,"opted_out":"true"}`, 400, `"field":"opted_out"`},
		{52, "POST", "/v1/opt-outs", optOut + `,"opted_out":null}`, 400, `"field":"opted_out"`},
		{52, "POST", ask, `{"kind":1e400}`, 400, `"field":"kind"`},
		{45, "GET", "/v1/dead?limit=0", "", 400, "limit"},
		{45, "GET", "/v1/dead?limit=1e3", "", 400, "limit"},
		{45, "GET", "/v1/dead?limit=99999999999999999999", "", 400, "limit"},
		{45, "GET", "/v1/dead?cursor=-1", "", 400, "cursor"},
		{45, "GET", "/v1/dead?settled=perhaps", "", 400, "settled"},
		{45, "GET", "/v1/events?status=tomorrow", "", 400, "status"},
		{45, "POST", "/v1/dead/1/replay?force=perhaps", "", 400, "force"},
		{44, "GET", "/v1/envelopes/%00/messages", "", 404, "not_found"},
		{44, "GET", "/v1/envelopes/..%2f..%2fdead/messages", "", 404, "not_found"},
		{44, "POST", "/v1/providers/..%2fdead/pause", "", 404, "not_found"},
		{44, "POST", "/v1/providers/%3E/pause", "", 404, "not_found"},
		{44, "POST", "/v1/providers/cloudrebue/operations/%2e%2e", "", 404, "not_found"},
	}
	for _, id := range []string{"0", "-1", "1.5", "0x1", "18446744073709551616", "999", "%20", strings.Repeat("9", 5000)} {
		list = append(list, apiRequest{44, "GET", "/v1/dead/" + id, "", 404, "not_found"}, apiRequest{44, "DELETE", "/v1/dead/" + id, "", 404, "not_found"})
	}
	for _, id := range []string{"x", "x-0", "-0", "01JD0000000000000000000000--1", "01JD0000000000000000000000-99999999999999999999", "01JD0000000000000000000000-0%0a", strings.Repeat("x", 5000)} {
		list = append(list, apiRequest{44, "GET", "/v1/messages/" + id, "", 404, "not_found"}, apiRequest{44, "DELETE", "/v1/messages/" + id, "", 404, "not_found"},
			apiRequest{44, "GET", "/v1/envelopes/" + id, "", 404, "not_found"}, apiRequest{44, "DELETE", "/v1/envelopes/" + id, "", 404, "not_found"})
	}
	return list
}

// The other routes refuse as clearly as that of submissions.
func TestOtherRoutes(t *testing.T) {
	t.Parallel()
	p := start(t, "")
	for _, r := range apiRequests() {
		code, body := p.call(r.method, "http://"+p.api+r.path, r.body)
		if code != r.status || !bytes.Contains(body, []byte(r.says)) {
			t.Errorf("row %d: %s %.60s %.60s: %d %.300s; want %d that says %s", r.row, r.method, r.path, r.body, code, body, r.status, r.says)
		}
	}
	p.goesOn()
	if n := p.stream(p.bus(), "SMS_OPTOUTS").CachedInfo().State.LastSeq; n != 0 {
		t.Errorf("%d opt-outs were stored", n)
	}
}

// nothingElseStored holds the queue against what good messages there were.
func (p *program) nothingElseStored() {
	p.t.Helper()
	s, err := p.bus().Stream(p.t.Context(), "SMS_QUEUE_cloudrebue")
	if err != nil {
		p.t.Fatal(err)
	}
	if got := s.CachedInfo().State.LastSeq; got != uint64(p.good) {
		p.t.Errorf("%d messages were stored, %d were good", got, p.good)
	}
}

// A body of 2 GB is refused once it is larger than any may be, and not read on.
func TestTwoGigabytes(t *testing.T) {
	t.Parallel()
	p := start(t, "")
	for _, framing := range []string{"Content-Length: 2147483648\r\n", "Transfer-Encoding: chunked\r\n"} {
		conn, err := net.Dial("tcp", p.api)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		answer := make(chan string, 1)
		go func() { // ends with the connection
			b, _ := io.ReadAll(io.LimitReader(conn, 1<<20))
			answer <- string(b)
		}()
		fmt.Fprintf(conn, "POST /v1/messages HTTP/1.1\r\n%s%s\r\n", head, framing)
		piece := bytes.Repeat([]byte(" "), 1<<20)
		if strings.HasPrefix(framing, "T") {
			piece = fmt.Appendf(nil, "%x\r\n%s\r\n", len(piece), piece)
		}
		sent := 0
		for ; sent < 2048; sent++ {
			if _, err := conn.Write(piece); err != nil {
				break
			}
		}
		if sent > 64 {
			t.Errorf("%s%d MiB were read", framing, sent)
		}
		if got := <-answer; got != "" && !strings.HasPrefix(got, "HTTP/1.1 413") { // a reset may overtake it
			t.Errorf("%s%.300s", framing, got)
		}
	}
	p.goesOn()
}

// A line of NDJSON without an end takes no more memory than one may have, and those
// after it are taken.
func TestEndlessLine(t *testing.T) {
	p := start(t, "")
	const size = 256 << 20
	one := `{"to":"+254700000000","from":"ACME","text":"x"}`
	before := memory()
	body := io.MultiReader(io.LimitReader(endless{}, size), strings.NewReader("\n"+one+"\n"))
	var peak uint64
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.api+"/v1/messages", &looking{body, func(n int) {
		if n%(32<<20) == 0 {
			peak = max(peak, memory())
		}
	}, 0})
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer demo"}, "Content-Type": {"application/x-ndjson"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusAccepted || !bytes.Contains(answer, []byte(`"accepted":1,"rejected":1`)) || !bytes.Contains(answer, []byte("too_large")) {
		t.Errorf("%d %s", resp.StatusCode, answer)
	}
	if peak == 0 || peak > before+64<<20 {
		t.Errorf("%d MiB were held, %d before", peak>>20, before>>20)
	}
	p.goesOn()
}

// endless is a text without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

// looking calls see with how much was read.
type looking struct {
	io.Reader
	see func(n int)
	n   int
}

func (l *looking) Read(b []byte) (int, error) {
	n, err := l.Reader.Read(b[:min(len(b), 32<<10)])
	l.n += n
	l.see(l.n)
	return n, err
}

// A body that comes drop by drop is told that it took too long.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	p := start(t, "")
	var all sync.WaitGroup
	for _, typ := range []string{"application/json", "application/x-ndjson"} {
		all.Go(func() {
			conn, err := net.Dial("tcp", p.api)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			fmt.Fprintf(conn, "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer demo\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n", typ)
			go func() { // ends with the connection
				for drop := time.NewTicker(time.Second); ; <-drop.C {
					if _, err := io.WriteString(conn, "1\r\n \r\n"); err != nil {
						return
					}
				}
			}()
			b := make([]byte, 64)
			n, err := conn.Read(b)
			if got := string(b[:n]); !strings.HasPrefix(got, "HTTP/1.1 408") {
				t.Errorf("%s: %q %v", typ, got, err)
			}
		})
	}
	all.Wait()
	p.goesOn()
}

// Submissions of one tenant that never end are let in up to a bound; one more is
// told to come again, and each place is there for the next once it is free.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t, "")
	const most = 16 // of bodies that do not say how large they are
	var open []net.Conn
	for range most {
		conn, err := net.Dial("tcp", p.api)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /v1/messages HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", head)
		open = append(open, conn)
	}
	endless := "POST /v1/messages HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n\r\n"
	p.eventually("the next is told to come again", func() bool { return p.raw(p.api, endless) == "HTTP/1.1 429 Too Many Requests" })
	p.goesOn() // small ones have places of their own
	for _, conn := range open {
		conn.Close()
	}
	p.eventually("a place is free", func() bool { return p.raw(p.api, endless) == "HTTP/1.1 400 Bad Request" })
}

// The same key with another body is refused; with the same, answered as before.
func TestKeyOfAnotherBody(t *testing.T) {
	t.Parallel()
	p := start(t, "")
	key := []string{"Idempotency-Key", "k"}
	_, _, first := p.submit(submission{body: `{"to":"+254700000001","from":"ACME","text":"1"}`, header: key})
	if status, _, again := p.submit(submission{body: `{"from":"ACME","to":"+254700000001","text":"1"}`, header: key}); status != http.StatusAccepted || again != first {
		t.Errorf("again: %d %s, first %s", status, again, first)
	}
	if status, typ, other := p.submit(submission{body: `{"to":"+254700000001","from":"ACME","text":"2"}`, header: key}); status != 422 || typ != "application/problem+json" || !strings.Contains(other, "duplicate") {
		t.Errorf("another body: %d %s", status, other)
	}
	p.goesOn()
}

// 30 recipients that are one, written in all ways, are 30 messages, none with
// another in one request.
func TestOneNumberInAllItsForms(t *testing.T) {
	t.Parallel()
	gw := newGateway(t)
	p := start(t, gw.url)
	forms := []string{"+254712345678", "0712345678", "254712345678", "+254 712 345 678", "0712-345-678", "(0712) 345.678"}
	var list []string
	for i := range 30 {
		list = append(list, fmt.Sprintf(`{"to":%q}`, forms[i%len(forms)]))
	}
	_, _, answer := p.submit(submission{body: `{"recipients":[` + strings.Join(list, ",") + `],"from":"ACME","text":"x"}`})
	if n := strings.Count(answer, `"to":"+254712345678"`); n != len(list) {
		t.Errorf("%d of %d: %s", n, len(list), answer)
	}
	var a struct{ ID string }
	if err := json.Unmarshal([]byte(answer), &a); err != nil {
		t.Fatal(err)
	}
	p.eventually("all are submitted", func() bool {
		_, body := p.call("GET", "http://"+p.api+"/v1/envelopes/"+a.ID, "")
		return bytes.Contains(body, []byte(`"counts":{"submitted":30}`))
	})
	if gw.count() != gw.requests() {
		t.Errorf("%d messages in %d requests", gw.count(), gw.requests())
	}
}
