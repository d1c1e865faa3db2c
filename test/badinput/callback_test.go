package badinput

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tuma-sms/tuma/internal/dlr"
)

// callback is a body that comes to the callbacks with the right token.
type callback struct {
	row  int // of the list
	name string
	body string
}

func callbacks() []callback {
	return []callback{
		{89, "nothing", ""}, {89, "null", "null"}, {89, "array", "[]"}, {89, "object", "{}"}, {89, "string", `"x"`}, {89, "number", "1"}, {89, "bytes", "\x00\xff"}, {89, "page", "<html>"},
		{89, "brackets", strings.Repeat("[", 30_000)}, {89, "nested", `{"a":` + strings.Repeat(`{"a":`, 10_000)}, {91, "form", strings.Repeat("a=b&", 10_000)},
		{89, "of nothing", `{"event":"message.delivered"}`}, {89, "of null", `{"event":"message.delivered","data":null}`}, {89, "of other types", `{"event":{},"data":[]}`},
		{89, "of numbers", `{"event":"message.delivered","data":{"message_id":1e400,"destination":-0}}`},
		{89, "never sent", `{"phone":"254712345678","correlator":"01J-0","uniqueId":"u","deliveryStatus":"DeliveredToTerminal","deliveryTime":"2020-01-01 00:00:00"}`},
		{89, "list", `[{"To":"+254712345678","Status":"DeliveredToTerminal"}]`}, {89, "list of anything", `[null,1,"x",{}]`},
		{90, "unknown status", `{"phone":"254712345678","correlator":"x","uniqueId":"u","deliveryStatus":"Vanished"}`},
		{90, "status of 10 kB", `{"message_id":"m","phone":"\u0000","status":"` + strings.Repeat("D", 10_000) + `"}`}, {90, "status of another type", `{"message_id":null,"status":[]}`},
		{89, "inbound of nothing", `{"transaction_id":"","from":"","to":"","message":""}`}, {89, "inbound of numbers", `{"transaction_id":1,"from":2,"to":3,"message":4}`},
		{89, "long inbound", `{"transaction_id":"t","from":"254712345678","to":"15000","message":"` + strings.Repeat("x", 60_000) + `"}`},
		{89, "too long", strings.Repeat("x", 70<<10)},
	}
}

// callbackQueries come with GET and POST. Rows 91 and 94.
func callbackQueries() []string {
	return []string{"", "?dlvrMsgStat=U&dlvrMsgStat=D", "?dnis[]=1", "?a=1;b=2", "?a=%00", "?%zz", "?username=demo-dlr&password=demo-dlr-password&command=deliver&dnis=&dlvrMsgId=&dlvrMsgStat=", "?" + strings.Repeat("a=1&", 5000)}
}

// Rubbish that comes to the callbacks with the right token, and the wrong.
func TestRubbishFromGateways(t *testing.T) {
	t.Parallel()
	p := start(t, "")
	var all sync.WaitGroup
	room := make(chan struct{}, 16)
	for _, account := range []string{"cloudrebue", "smsbox", "bulksmsrates", "digitalservices", "nobody", "%2e%2e", "a%2fb"} {
		for _, kind := range []string{"dlr", "inbound", "other"} {
			for _, method := range []string{"POST", "GET", "PUT", "HEAD"} {
				all.Go(func() {
					for _, q := range callbackQueries() {
						for _, c := range callbacks() {
							if method != "POST" && c.body != "" {
								continue
							}
							room <- struct{}{}
							code, answer := p.call(method, "http://"+p.dlr+"/"+kind+"/"+account+"/"+secret+q, c.body)
							<-room
							if code == 0 || code >= 500 {
								t.Errorf("row %d: %s %s/%s%.40s %s: %d %s", c.row, method, kind, account, q, c.name, code, answer)
							}
						}
					}
				})
			}
		}
	}
	all.Wait()
	p.goesOn()
	p.eventually("what cannot be read is a dead letter", func() bool {
		_, body := p.call("GET", "http://"+p.api+"/v1/dead?reason=poison&limit=1000", "")
		return bytes.Count(body, []byte(`"id"`)) > 5
	})
}

// A gateway's clock lies: its times are kept as they came, and nothing is judged by
// them. Row 96.
func TestTimesOfGateways(t *testing.T) {
	t.Parallel()
	gw := newGateway(t)
	p := start(t, gw.url)
	for _, at := range []string{`"1999-12-31 23:59:59"`, `"2099-01-01T00:00:00+14:00"`, `"yesterday"`, `""`, `null`, `0`, `-1e30`, `"` + strings.Repeat("9", 10_000) + `"`} {
		id := p.accepts()
		p.becomes(id, `"status":"submitted"`)
		r := gw.last()
		code, answer := p.call("POST", r.Endpoint, fmt.Sprintf(`{"phone":%q,"correlator":%q,"uniqueId":"u-1","deliveryStatus":"DeliveredToTerminal","deliveryTime":%s}`, r.Phone, r.Correlator, at))
		if code != 200 {
			t.Errorf("delivered at %.40s: %d %s", at, code, answer)
		}
		p.delivered(id)
		if times := p.history(id); !times.ordered() {
			t.Errorf("delivered at %.40s: the history is %v", at, times)
		}
	}
	last, err := p.stream(p.bus(), "SMS_CALLBACKS").GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var kept struct{ Body []byte }
	if err := json.Unmarshal(last.Data, &kept); err != nil || !bytes.Contains(kept.Body, []byte("1999-12-31 23:59:59")) {
		t.Errorf("the first is kept as %s, %v", kept.Body, err)
	}
}

// Who guesses Digital Services' name and password learns nothing from the answers:
// they are all the same. Row 92.
func TestGuesses(t *testing.T) {
	t.Parallel()
	p := start(t, "")
	url := "http://" + p.dlr + "/dlr/digitalservices/" + dlr.Token(secret, "digitalservices", "t1-1") + "?dnis=250788123456&command=deliver&dlvrMsgId=1&dlvrMsgStat=D"
	wrong := map[string]bool{}
	for _, login := range []string{"", "&username=demo-dlr", "&password=demo-dlr-password", "&username=x&password=demo-dlr-password", "&username=demo-dlr&password=x", "&username=demo-dlr&password=demo-dlr-passwor", "&username=demo-dlr&password=demo-dlr-password2", "&username=DEMO-DLR&password=demo-dlr-password", "&username=&password="} {
		code, answer := p.call("GET", url+login, "")
		wrong[fmt.Sprint(code, string(answer))] = true
	}
	if len(wrong) != 1 || wrong["200"] {
		t.Errorf("answered in %d ways: %v", len(wrong), wrong)
	}
	if n := p.stream(p.bus(), "SMS_CALLBACKS").CachedInfo().State.Msgs; n != 0 {
		t.Errorf("%d were stored", n)
	}
	if code, answer := p.call("GET", url+"&username=demo-dlr&password=demo-dlr-password", ""); code != 200 {
		t.Errorf("the right ones: %d %s", code, answer)
	}
}

// A callback that is captured and repeated a thousand times is stored once; one that
// names another's number changes nothing; one with a forged URL is nobody's.
func TestForgedAndRepeated(t *testing.T) {
	t.Parallel()
	gw := newGateway(t)
	p := start(t, gw.url)
	id := p.accepts()
	p.becomes(id, `"status":"submitted"`)
	r := gw.last()
	report := fmt.Sprintf(`{"phone":%q,"correlator":%q,"uniqueId":"u-1","deliveryStatus":"DeliveredToTerminal","deliveryTime":"2020-01-01 00:00:00"}`, r.Phone, r.Correlator)
	if code, _ := p.call("POST", r.Endpoint[:len(r.Endpoint)-2]+"xx", report); code != 404 { // row 83
		t.Errorf("a forged URL: %d", code)
	}
	if code, _ := p.call("POST", r.Endpoint, strings.Replace(report, r.Phone, "254700999999", 1)); code != 200 { // row 84
		t.Errorf("another's number: %d", code)
	}
	p.eventually("it is kept, and counted", func() bool {
		_, metrics := p.call("GET", "http://"+p.admin+"/metrics", "")
		return bytes.Contains(metrics, []byte(`class="quarantined"} 1`))
	})
	if _, body := p.call("GET", "http://"+p.api+"/v1/messages/"+id, ""); !bytes.Contains(body, []byte(`"status":"submitted"`)) {
		t.Errorf("another's number settled it: %s", body)
	}
	js := p.bus()
	before := p.stream(js, "SMS_CALLBACKS").CachedInfo().State.LastSeq
	for range 1000 { // row 85
		if code, answer := p.call("POST", r.Endpoint, report); code != 200 {
			t.Fatalf("%d %s", code, answer)
		}
	}
	p.delivered(id)
	if n := p.stream(js, "SMS_CALLBACKS").CachedInfo().State.LastSeq - before; n != 1 {
		t.Errorf("%d of 1,000 equal callbacks were stored", n)
	}
}
