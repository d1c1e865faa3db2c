package smsbox_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
	"github.com/tuma-sms/tuma/pkg/providers/smsbox"
)

func suite() providertest.Suite {
	return providertest.Suite{
		New:         smsbox.New,
		Credentials: map[string]string{"api_key": "canary-key", "api_secret": "canary-secret"},
		Dir:         "testdata",
		Features:    providertest.Features{Reports: true, Inbound: true, Balance: true, Desk: true},
		Accept: func(*http.Request, []byte) string {
			return `{"status": true, "code": 200, "message": "Message Scheduled Successfully", "data": "message_id:sms-1",}`
		},
		Report: func(status string) *providers.Callback {
			body, _ := json.Marshal(map[string]string{"message_id": "sms-1", "dest_addr": "+22687161524", "status": status})
			return &providers.Callback{Method: http.MethodPost, Body: body, Time: providertest.Now()}
		},
	}
}

func TestConformance(t *testing.T) { providertest.Run(t, suite()) }

// TestConformanceXML is the same with an account whose requests are XML.
func TestConformanceXML(t *testing.T) {
	s := suite()
	s.SendDir, s.Options = "send-xml", map[string]any{"format": "xml"}
	providertest.Run(t, s)
}

func FuzzSend(f *testing.F)    { providertest.FuzzSend(f, suite()) }
func FuzzReports(f *testing.F) { providertest.FuzzReports(f, suite()) }

const (
	printable = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_abcdefghijklmnopqrstuvwxyz{|}~"
	token     = "[{RECEIVERNAME}]"
)

// answering is a transport that keeps the request and gives one answer.
type answering struct {
	status int
	answer string
	body   []byte
	calls  int
}

func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	a.calls++
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	a.body = body
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a.answer))}, nil
}

func account(t interface{ Fatal(...any) }, transport http.RoundTripper) providers.Provider {
	return accountWith(t, transport, nil)
}

func accountWith(t interface{ Fatal(...any) }, transport http.RoundTripper, options map[string]any) providers.Provider {
	p, err := smsbox.New(providers.Options{Credentials: suite().Credentials, Options: options, Transport: transport, Now: providertest.Now})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func message(i int, text string, vars map[string]string) providers.Message {
	return providers.Message{ID: fmt.Sprint("m-", i), To: fmt.Sprintf("+226%08d", i), From: "INFO", Text: text, Variables: vars}
}

// TestCodes holds every row of the document's error table: what it means for a
// batch of two, and whether smaller batches are worth a try.
func TestCodes(t *testing.T) {
	t.Parallel()
	const rejected, here, ill, unsure = providers.Rejected, providers.RejectedHere, providers.Misconfigured, providers.Uncertain
	type want struct {
		class         providers.Class
		shared, named bool // Bisect, of one text and of a text with names
	}
	table := map[int]want{
		101: {rejected, true, true}, 102: {ill, false, false}, 103: {unsure, false, false}, 104: {here, true, true},
		105: {ill, false, false}, 106: {ill, false, false}, 107: {ill, false, false}, 108: {ill, false, false},
		109: {here, false, true}, 110: {here, false, true}, 111: {here, false, false}, 112: {here, false, false},
		113: {here, true, true}, 114: {here, true, true}, 115: {rejected, true, true}, 116: {ill, false, false},
		117: {here, false, false}, 118: {here, false, false}, 119: {here, false, false}, 120: {ill, false, false},
		121: {here, false, false}, 122: {here, false, false}, 123: {here, false, false}, 124: {here, false, false},
		125: {unsure, false, false}, 126: {unsure, false, false}, 127: {unsure, false, false}, 128: {unsure, false, false},
		// No row of the table: the code read as a status.
		200: {unsure, false, false}, 129: {unsure, false, false}, 403: {ill, false, false}, 500: {unsure, false, false}, 400: {here, true, true},
	}
	for code, w := range table {
		for _, shape := range []string{`{"code": %d}`, `{"status": false, "code": "%d",}`, `{"data": {"code": %d, "message": "x"}}`, `<response><code>%d</code></response>`} {
			answer := fmt.Sprintf(shape, code)
			if code == 200 {
				answer = `{"status": false, "code": 200}`
			}
			check := func(n int, text string, vars map[string]string, bisect bool) {
				t.Helper()
				b := &providers.Batch{ID: "b"}
				for i := range n {
					b.Messages = append(b.Messages, message(i, text, vars))
				}
				_, err := account(t, &answering{status: 200, answer: answer}).Send(t.Context(), b)
				var e *providers.Error
				if !errors.As(err, &e) || e.Class != w.class || e.Bisect != bisect || (e.Need == providers.NeedBalance) != (code == 102) {
					t.Errorf("%s to %d messages: got %+v, want %v, bisect %v", answer, n, e, w.class, bisect)
				}
			}
			check(2, "Hello", nil, w.shared)
			check(2, "Hello {{x}}", map[string]string{"x": "y"}, w.named)
			check(1, "Hello {{x}}", map[string]string{"x": "y"}, false)
		}
	}
}

func TestStatusAndCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		answer string
		want   providers.Class
	}{
		{201, `{"status": "true", "code": "200"}`, providers.Accepted}, // taken, unnamed
		{200, `{"code": 200, "data": "message_id:sms-1"}`, providers.Accepted},
		{400, `{"code": 200}`, providers.Uncertain},
		{500, `{"code": 111}`, providers.Uncertain}, // it may have come after the fact
		{503, `{"code": 111}`, providers.Unavailable},
		{503, `{"code": 103}`, providers.Uncertain},
		{503, `<p>`, providers.Uncertain},
		{429, `{"code": 111}`, providers.Throttled},
		{408, `{"code": 111}`, providers.Uncertain},
		{400, `{"error": "No authorization headers"}`, providers.Misconfigured},
		{200, `{"error": "No authorization headers"}`, providers.Uncertain},
	} {
		p := account(t, &answering{status: c.status, answer: c.answer})
		results, err := p.Send(t.Context(), &providers.Batch{ID: "b", Messages: []providers.Message{message(0, "Hello", nil)}})
		var e *providers.Error
		got := providers.Accepted
		if errors.As(err, &e) {
			got = e.Class
		} else if len(results) == 1 {
			got = results[0].Class
		}
		if got != c.want {
			t.Errorf("%d %s: got %v, want %v", c.status, c.answer, got, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	p := account(t, nil)
	with := func(change func(*providers.Message)) *providers.Message {
		m := message(1, "Hello", nil)
		change(&m)
		return &m
	}
	for name, c := range map[string]struct {
		m    *providers.Message
		want providers.Class // 0: carried
	}{
		"plain":            {with(func(m *providers.Message) { m.Text = printable + "\r\n" }), 0},
		"sender of all":    {with(func(m *providers.Message) { m.From = "A b-1.c" }), 0},
		"number as sender": {with(func(m *providers.Message) { m.From = "+22670123456" }), 0},
		"12 letters":       {with(func(m *providers.Message) { m.From = "ABCDEFGHIJKL" }), providers.RejectedHere},
		"underscore":       {with(func(m *providers.Message) { m.From = "A_B" }), providers.RejectedHere},
		"no sender":        {with(func(m *providers.Message) { m.From = " " }), providers.RejectedHere},
		"accent":           {with(func(m *providers.Message) { m.Text = "é" }), providers.RejectedHere},
		"backtick":         {with(func(m *providers.Message) { m.Text = "`" }), providers.RejectedHere},
		"tab":              {with(func(m *providers.Message) { m.Text = "a\tb" }), providers.RejectedHere},
		"emoji in a value": {with(func(m *providers.Message) { m.Text = "{{x}}"; m.Variables = map[string]string{"x": "😀"} }), providers.RejectedHere},
		"token":            {with(func(m *providers.Message) { m.Text = "Hi " + token }), 0},
		"token in case":    {with(func(m *providers.Message) { m.Text = "Hi [{ReceiverName}]" }), 0},
		"two spellings":    {with(func(m *providers.Message) { m.Text = "Hi [{ReceiverName}], " + token }), providers.RejectedHere},
		"token by value":   {with(func(m *providers.Message) { m.Text = "[{{{x}}}]"; m.Variables = map[string]string{"x": "RECEIVERNAME"} }), 0},
		"scheduled":        {with(func(m *providers.Message) { m.Options = map[string]string{"scheduled_at": "2026-03-04T09:00:00+03:00"} }), 0},
		"no time":          {with(func(m *providers.Message) { m.Options = map[string]string{"scheduled_at": "tomorrow"} }), providers.Rejected},
		"too late": {with(func(m *providers.Message) {
			m.Options, m.ExpiresAt = map[string]string{"scheduled_at": "2026-03-04T09:00:00Z"}, time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC)
		}), providers.Rejected},
		"another's option": {with(func(m *providers.Message) { m.Options = map[string]string{"link_id": "1"} }), providers.RejectedHere},
		"missing variable": {with(func(m *providers.Message) { m.Text = "{{x}}"; m.Variables = map[string]string{} }), providers.Rejected},
		"literal braces":   {with(func(m *providers.Message) { m.Text = "{{x}}" }), 0},
		"empty":            {with(func(m *providers.Message) { m.Text = "" }), providers.Rejected},
		"national number":  {with(func(m *providers.Message) { m.To = "70123456" }), providers.Rejected},
	} {
		err := p.Check(c.m)
		var e *providers.Error
		switch {
		case c.want == 0 && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != 0 && (!errors.As(err, &e) || e.Class != c.want || e.Code == ""):
			t.Errorf("%s: got %v, want %v with a code", name, err, c.want)
		}
	}
}

// TestRefusedIsNeverSent: what Check refuses leaves in no batch.
func TestRefusedIsNeverSent(t *testing.T) {
	t.Parallel()
	transport := &answering{status: 200, answer: `{"status": true, "code": 200}`}
	b := &providers.Batch{ID: "b", Messages: []providers.Message{message(0, "Hello", nil), message(1, "Hell\u00f6", nil)}}
	_, err := account(t, transport).Send(t.Context(), b)
	var e *providers.Error
	if !errors.As(err, &e) || e.Class != providers.RejectedHere || !e.Bisect || transport.calls != 0 {
		t.Errorf("got %+v after %d requests, want a refusal before any", e, transport.calls)
	}
	b.Messages[1] = message(1, "Something else", nil)
	_, err = account(t, transport).Send(t.Context(), b)
	if !errors.As(err, &e) || !e.Bisect || transport.calls != 0 {
		t.Errorf("mixed texts: got %+v after %d requests, want a refusal before any", e, transport.calls)
	}
}

// TestArrivesAsMeant plays the gateway: whatever templates and values are made
// of, each handset gets the text that rendering gives, messages of one key share
// a request, and nothing that a user typed is filled in.
func TestArrivesAsMeant(t *testing.T) {
	t.Parallel()
	part := rapid.SampledFrom([]string{"Hi ", "{{a}}", "{{ a }}", "{{b}}", token, "[{", "}]", "RECEIVERNAME", "{", "}", " ", "é", "Asha", "x\n", "[{receivername}]"})
	words := rapid.Map(rapid.SliceOfN(part, 0, 6), func(p []string) string { return strings.Join(p, "") })
	rapid.Check(t, func(t *rapid.T) {
		transport := &answering{status: 200, answer: `{"status": true, "code": 200}`}
		format := rapid.SampledFrom([]string{"json", "xml"}).Draw(t, "format")
		p := accountWith(t, transport, map[string]any{"format": format})
		text := words.Draw(t, "text")
		groups := map[string][]providers.Message{}
		want := map[string]string{}
		for i := range rapid.IntRange(1, 4).Draw(t, "n") {
			m := message(i, text, nil)
			if rapid.Bool().Draw(t, "template") {
				m.Variables = map[string]string{"a": words.Draw(t, "a"), "b": words.Draw(t, "b")}
			}
			if p.Check(&m) != nil {
				continue
			}
			want[m.To] = m.Text
			if m.Variables != nil {
				want[m.To], _ = envelope.Render(m.Text, m.Variables)
			}
			if strings.Trim(want[m.To], printable+"\n\r") != "" {
				t.Fatalf("Check passed %q", want[m.To])
			}
			groups[p.GroupKey(&m)] = append(groups[p.GroupKey(&m)], m)
		}
		got, careless := map[string]string{}, map[string]string{} // by a gateway that minds case, and by one that does not
		for _, messages := range groups {
			if _, err := p.Send(t.Context(), &providers.Batch{ID: "b", Messages: messages}); err != nil {
				t.Fatal(err)
			}
			deliver(t, format, transport.body, regexp.MustCompile(regexp.QuoteMeta(token)), got)
			deliver(t, format, transport.body, regexp.MustCompile("(?i)"+regexp.QuoteMeta(token)), careless)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(want, careless); diff != "" {
			t.Fatal(diff)
		}
	})
}

func deliver(t *rapid.T, format string, body []byte, token *regexp.Regexp, got map[string]string) {
	var sent struct {
		Message    string `xml:"message"`
		Recipients []struct {
			Name string `json:"recipient_name" xml:"recipient_name"`
			To   string `json:"dest_addr" xml:"dest_addr"`
		} `xml:"recipients>recipient"`
	}
	decode := json.Unmarshal
	if format == "xml" {
		decode = xml.Unmarshal
	}
	if err := decode(body, &sent); err != nil {
		t.Fatal(err)
	}
	for _, r := range sent.Recipients {
		if r.Name == "" {
			t.Fatal("a recipient without a name")
		}
		got[r.To] = token.ReplaceAllLiteralString(sent.Message, r.Name)
	}
}

// TestGroups: a thousand names are one request.
func TestGroups(t *testing.T) {
	t.Parallel()
	p := account(t, nil)
	key := func(text string, vars map[string]string) string {
		m := message(1, text, vars)
		return p.GroupKey(&m)
	}
	name := func(v string) map[string]string { return map[string]string{"any": v, "other": v} }
	if key("Hi {{any}}, {{ any }}", name("Asha")) != key("Hi {{any}}, {{ any }}", name("Ben")) {
		t.Error("one placeholder, used twice: names differ, the key must not")
	}
	if key("Hi {{any}}", name("Asha")) != key("Hi {{other}}", name("Ben")) {
		t.Error("the placeholder's name is not sent, so it must not matter")
	}
	if key("{{any}} {{other}}", name("Asha")) == key("{{any}} {{other}}", name("Ben")) {
		t.Error("two placeholders go by equal text")
	}
	for _, v := range []string{"", " Asha", strings.Repeat("x", 51)} {
		if key("Hi {{any}}", name(v)) == key("Hi {{any}}", name("Ben")) {
			t.Errorf("a value that the gateway may change (%q) goes by equal text", v)
		}
	}
	if key("Hi Asha", nil) != key("{{a}} {{b}}", map[string]string{"a": "Hi", "b": "Asha"}) {
		t.Error("equal texts share a key, wherever they come from")
	}
}

func FuzzInbound(f *testing.F) {
	f.Add([]byte("{\n 'from': '255701000000', 'to': '15000', 'transaction_id': '1', 'message': {'text': 'It\\'s \"ok\"',}, }"))
	f.Add([]byte(`{"from": 255701000000, "to": "15000", "transaction_id": "1", "message": "x"}`))
	f.Add([]byte(`{'a`))
	f.Add([]byte(`'\`))
	p := account(f, nil).(providers.Receiver)
	f.Fuzz(func(t *testing.T, body []byte) {
		list, _, answer, err := p.ParseInbound(&providers.Callback{Body: body, Time: providertest.Now()})
		if err != nil {
			return
		}
		in := list[0]
		if in.ID == "" || in.From == "" || in.To == "" || in.Time.IsZero() || !json.Valid(answer) {
			t.Fatalf("half an inbound message: %+v, answer %s", in, answer)
		}
	})
}

func between(s, start, end string) string {
	_, s, _ = strings.Cut(s, start)
	s, _, _ = strings.Cut(s, end)
	return s
}

// FuzzSendXML feeds the parser of answers in XML.
func FuzzSendXML(f *testing.F) {
	s := suite()
	s.SendDir, s.Options = "send-xml", map[string]any{"format": "xml"}
	providertest.FuzzSend(f, s)
}
