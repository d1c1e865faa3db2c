package digitalservices

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

// TestAnswersInOtherTypes: the document's answer, as servers that hold types less
// strictly would write it.
func TestAnswersInOtherTypes(t *testing.T) {
	t.Parallel()
	const taken, failed, unknown = providers.Accepted, providers.RejectedHere, providers.Uncertain
	for name, c := range map[string]struct {
		body string
		want [2]providers.Class
	}{
		"numbers for strings": {`{"status":"success","totalmessages":"2","totalcost":"150","unit":"RWF","response":[
			{"status":"sent","messageid":118579716,"recipient":250782589800,"message":"t","cost":"75"},
			{"status":"failed","messageid":118579717,"recipient":250782589801,"message":"t","cost":75.0}]}`, [2]providers.Class{taken, failed}},
		"capitals":                 {`{"Status":"SUCCESS","Response":[{"Status":"Sent","recipient":"250782589800"},{"status":"FAILED","recipient":"250782589801"}]}`, [2]providers.Class{taken, failed}},
		"with a plus":              {`{"status":"success","response":[{"status":"sent","recipient":"+250782589800"},{"status":"sent","recipient":" 250 782 589 801"}]}`, [2]providers.Class{taken, taken}},
		"national":                 {`{"status":"success","response":[{"status":"sent","recipient":"0782589800"},{"status":"sent","recipient":"782589801"}]}`, [2]providers.Class{taken, taken}},
		"one as an object":         {`{"status":"success","response":{"status":"sent","messageid":"1","recipient":"250782589800"}}`, [2]providers.Class{taken, unknown}},
		"one that cannot be read":  {`{"status":"success","response":["x",{"status":{"a":1},"recipient":"250782589800"},{"status":"sent","recipient":"250782589801"}]}`, [2]providers.Class{unknown, taken}},
		"a message of its own":     {`{"status":"success","message":{"text":"ok"},"response":[{"status":"sent","recipient":"250782589800"}]}`, [2]providers.Class{taken, unknown}},
		"a mark and a newline":     {"\ufeff" + `{"status":"success","response":[{"status":"sent","recipient":"250782589800"}]}` + "\r\n\n", [2]providers.Class{taken, unknown}},
		"no status":                {`{"response":[{"status":"sent","recipient":"250782589800"},{"status":"failed","recipient":"250782589801"}]}`, [2]providers.Class{taken, failed}},
		"another status":           {`{"status":"partial","response":[{"status":"sent","recipient":"250782589800"}]}`, [2]providers.Class{taken, unknown}},
		"sent and failed, one man": {`{"status":"success","response":[{"status":"failed","recipient":"250782589800"},{"status":"sent","recipient":"0782589800"}]}`, [2]providers.Class{taken, unknown}},
	} {
		p, err := New(providers.Options{Credentials: suite().Credentials, Transport: providertest.Answer(200, c.body)})
		if err != nil {
			t.Fatal(err)
		}
		results, err := p.Send(t.Context(), &providers.Batch{Messages: []providers.Message{
			{To: "+250782589800", From: "A", Text: "t"}, {To: "+250782589801", From: "A", Text: "t"},
		}})
		if err != nil || [2]providers.Class{results[0].Class, results[1].Class} != c.want {
			t.Errorf("%s: got %+v, %v, want %v", name, results, err, c.want)
		}
	}
}

// TestOneAnswerForOneMessage: it is about no other, even if it names none.
func TestOneAnswerForOneMessage(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]providers.Class{
		`{"status":"success","response":[{"status":"sent","messageid":"1"}]}`:                            providers.Accepted,
		`{"status":"success","response":{"status":"failed","messageid":"1","recipient":""}}`:             providers.RejectedHere,
		`{"status":"success","response":[{"status":"sent","messageid":"1","recipient":"250782589801"}]}`: providers.Uncertain,
		`{"status":"success","response":[{"status":"sent"},{"status":"sent"}]}`:                          providers.Uncertain,
	} {
		p, err := New(providers.Options{Credentials: suite().Credentials, Transport: providertest.Answer(200, body)})
		if err != nil {
			t.Fatal(err)
		}
		results, err := p.Send(t.Context(), &providers.Batch{Messages: []providers.Message{{To: "+250782589800", From: "A", Text: "t"}}})
		if err != nil || results[0].Class != want {
			t.Errorf("%s: got %+v, %v, want %v", body, results, err, want)
		}
	}
}

// TestRefusalsInOtherTypes: an error is one however its status and words are typed.
func TestRefusalsInOtherTypes(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]providers.Class{
		`{"status":false,"message":"Invalid API key or credentials"}`:                     providers.Misconfigured,
		`{"status":"error","message":["Invalid API key or credentials"]}`:                 providers.Uncertain, // 200, and no words
		`{"status":"ERROR","message":" invalid api key or credentials.","response":null}`: providers.Misconfigured,
	} {
		p, err := New(providers.Options{Credentials: suite().Credentials, Transport: providertest.Answer(200, body)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Send(t.Context(), &providers.Batch{Messages: []providers.Message{{To: "+250782589800", From: "A", Text: "t"}}})
		var e *providers.Error
		if !errors.As(err, &e) || e.Class != want {
			t.Errorf("%s: got %v, want %v", body, err, want)
		}
	}
}

// TestCallbackURLIsReadEitherWay: the document's request names a bare dlrurl, its
// callback format one with placeholders. A gateway may fill in what we gave it,
// replace its parameters, or put its own behind it, whatever is there already.
func TestCallbackURLIsReadEitherWay(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	const own = "dnis=250782589800&username=SmsUser&password=SmsPass&command=deliver&dlvrMsgId=118579716&dlvrMsgStat=D"
	fill := strings.NewReplacer("$dnis$", "250782589800", "$messageID$", "118579716", "$status$", "D").Replace
	for name, call := range map[string]func(dlrurl string) string{
		"placeholders filled in": fill,
		"filled in, by the encoded form": func(u string) string {
			return fill(strings.ReplaceAll(u, "%24", "$"))
		},
		"put behind it":                        func(u string) string { return u + "&" + own },
		"put behind it by a question mark":     func(u string) string { return u + "?" + own },
		"filled in, and put behind it as well": func(u string) string { return fill(u) + "&" + own },
		"sorted, by a question mark": func(u string) string {
			return u + "?command=deliver&dlvrMsgId=118579716&dlvrMsgStat=D&dnis=250782589800&password=SmsPass&username=SmsUser"
		},
		"replaced": func(u string) string {
			parsed, err := url.Parse(u)
			if err != nil {
				t.Fatal(err)
			}
			parsed.RawQuery = own
			return parsed.String()
		},
		"merged": func(u string) string {
			parsed, err := url.Parse(u)
			if err != nil {
				t.Fatal(err)
			}
			q := parsed.Query()
			more, err := url.ParseQuery(own)
			if err != nil {
				t.Fatal(err)
			}
			for name := range more {
				q.Add(name, more.Get(name))
			}
			parsed.RawQuery = q.Encode()
			return parsed.String()
		},
		"unfilled placeholders encoded": func(u string) string { return strings.ReplaceAll(u, "$", "%24") + "&" + own },
	} {
		r := httptest.NewRequest(http.MethodGet, call(p.dlrURL("https://tuma.example/dlr/a/t")), nil)
		cb := &providers.Callback{Method: r.Method, Header: r.Header, Query: r.URL.Query()}
		if err := p.VerifyReport(cb); err != nil {
			t.Errorf("%s: %v: %s", name, err, r.URL.RawQuery)
		}
		delete(cb.Query, "username") // they are not kept
		delete(cb.Query, "password")
		reports, err := p.ParseReports(cb)
		want := providers.Report{ProviderID: "118579716", To: "+250782589800", Status: providers.ReportDelivered, Code: "D"}
		if err != nil || len(reports) != 1 || reports[0] != want {
			t.Errorf("%s: %+v, %v", name, reports, err)
		}
	}
}

// TestReportsInOtherForms: what else may come for "Delivered or Undelivered".
func TestReportsInOtherForms(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	for query, want := range map[string]providers.Report{
		"dnis=0782589800&command=DELIVER&dlvrMsgId=1&dlvrMsgStat=d":   {ProviderID: "1", To: "+250782589800", Status: providers.ReportDelivered, Code: "d"},
		"dnis=782589800&command=deliver&dlvrMsgId=1&dlvrMsgStat=u":    {ProviderID: "1", To: "+250782589800", Status: providers.ReportUndelivered, Code: "u"},
		"dnis=+250782589800&dlvrMsgId=1&dlvrMsgStat=Delivered":        {ProviderID: "1", To: "+250782589800", Status: providers.ReportDelivered, Code: "Delivered"},
		"dlvrMsgId=1&dlvrMsgStat=UNDELIVERED":                         {ProviderID: "1", Status: providers.ReportUndelivered, Code: "UNDELIVERED"},
		"dnis=250782589800&command=deliver&dlvrMsgStat=%20D%0A":       {To: "+250782589800", Status: providers.ReportDelivered, Code: "D"},
		"dnis=250782589800&dnis=0782589800&dlvrMsgId=1&dlvrMsgStat=D": {},
		"dnis=$dnis$&dlvrMsgId=$messageID$&dlvrMsgStat=$status$":      {},
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		reports, err := p.ParseReports(&providers.Callback{Method: http.MethodGet, Query: q})
		if want == (providers.Report{}) {
			if err == nil {
				t.Errorf("%s: got %+v, want none", query, reports)
			}
			continue
		}
		if err != nil || len(reports) != 1 || reports[0] != want {
			t.Errorf("%s: got %+v, %v, want %+v", query, reports, err, want)
		}
	}
}
