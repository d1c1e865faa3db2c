// Package judge_test has the adapters meet the simulators, which were written
// from the same documents by other hands and share no code with them: each thing
// that an adapter can be asked for, once, over HTTP.
package judge_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tuma-sms/tuma/internal/simulator"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/all"
)

// judge is the simulators, served.
type judge struct {
	*testing.T
	sim   *simulator.Simulator
	url   string
	loose bool
}

// each runs a test against the simulators as the documents are, and against the
// same that write their answers in other types.
func each(t *testing.T, test func(t *testing.T, loose bool)) {
	t.Run("as documented", func(t *testing.T) { t.Parallel(); test(t, false) })
	t.Run("in other types", func(t *testing.T) { t.Parallel(); test(t, true) })
}

func start(t *testing.T, loose bool) judge {
	t.Helper()
	rates := map[string]int{}
	for _, typ := range simulator.Types() {
		rates[typ] = 0
	}
	sim := simulator.New(simulator.Options{Rates: rates, ReportDelay: -1})
	server := httptest.NewServer(sim.Handler())
	t.Cleanup(server.Close)
	j := judge{t, sim, server.URL, loose}
	j.faults()
	return j
}

// faults has these things go wrong from now on.
func (j judge) faults(list ...simulator.Fault) {
	j.Helper()
	if j.loose {
		list = append(list, simulator.Fault{Kind: "loose_json", Any: true})
	}
	if err := j.sim.SetFaults(list...); err != nil {
		j.Fatal(err)
	}
}

func (j judge) account(typ string, options map[string]any) providers.Provider {
	j.Helper()
	if typ == simulator.SMSScheduler {
		options = maps.Clone(options)
		if options == nil {
			options = map[string]any{}
		}
		options["senders"] = map[string]any{"ACME": 123}
	}
	creds := simulator.DemoCredentials()[typ]
	p, err := all.Types()[typ].New(providers.Options{
		Account: "a", BaseURL: j.sim.BaseURL(j.url, typ), Credentials: creds, Options: options, Timeout: 5 * time.Second,
	})
	if err != nil {
		j.Fatal(err)
	}
	return p
}

func (j judge) send(p providers.Provider, messages ...providers.Message) ([]providers.Result, error) {
	j.Helper()
	b := &providers.Batch{ID: "t1-1", Messages: messages}
	if p.Limits().CallbackURL {
		b.CallbackURL = "https://tuma.example/dlr/a/token"
	}
	for i := range messages {
		if err := p.Check(&messages[i]); err != nil {
			j.Fatalf("message %d: %v", i, err)
		}
		if p.GroupKey(&messages[i]) != p.GroupKey(&messages[0]) {
			j.Fatalf("message %d may not share the request", i)
		}
	}
	return p.Send(j.Context(), b)
}

// taken sends what is to be taken, and returns the request's ids and what
// handsets would show, by number.
func (j judge) taken(typ string, p providers.Provider, messages ...providers.Message) (ids []string, texts map[string]string) {
	j.Helper()
	results, err := j.send(p, messages...)
	if err != nil {
		j.Fatal(err)
	}
	for i, r := range results {
		if r.Class != providers.Accepted || r.ProviderID == "" {
			j.Fatalf("message %d: %+v", i, r)
		}
		ids = append(ids, r.ProviderID)
	}
	return ids, j.texts(typ)
}

// texts are what the newest request that took or changed something says.
func (j judge) texts(typ string) map[string]string {
	texts := map[string]string{}
	for e := range j.sim.Ledger().Each(typ) {
		for _, r := range e.Recipients {
			texts[r.To] = r.From + ": " + r.Text
		}
	}
	return texts
}

func (j judge) ask(p providers.Provider, name string, args map[string]string) (any, error) {
	j.Helper()
	for _, o := range p.(providers.Desk).Operations() {
		if o.Name != name {
			continue
		}
		shown, err := o.Do(j.Context(), args, func(context.Context) (func() error, error) { return nil, nil })
		if err != nil {
			return nil, err
		}
		raw, err := json.Marshal(shown)
		if err != nil {
			j.Fatal(err)
		}
		var out any
		err = json.Unmarshal(raw, &out)
		return out, err
	}
	j.Fatalf("no operation %s", name)
	return nil, nil
}

func later(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }

func message(to, text string, options map[string]string) providers.Message {
	return providers.Message{ID: "01jq-" + to[len(to)-1:], To: to, From: "ACME", Text: text, Options: options, ExpiresAt: time.Now().Add(48 * time.Hour)}
}

// TestEveryOption: each option of an account and of a message is taken, and
// changes what it is to change.
func TestEveryOption(t *testing.T) { t.Parallel(); each(t, judgeEveryOption) }

func judgeEveryOption(t *testing.T, loose bool) {
	hour := map[string]string{"scheduled_at": later(time.Hour)}
	for name, c := range map[string]struct {
		typ     string
		account map[string]any
		sent    []providers.Message
		want    map[string]string
	}{
		"cloudrebue, alone": {simulator.CloudRebue, nil, []providers.Message{message("+254712345678", "Hi & 5 < 6", map[string]string{"link_id": "L1"})},
			map[string]string{"+254712345678": "ACME: Hi & 5 < 6"}},
		"cloudrebue, several": {simulator.CloudRebue, nil, []providers.Message{message("+254712345678", "Hi", nil), message("+254112345679", "Ho", map[string]string{"link_id": "L1"})},
			map[string]string{"+254712345678": "ACME: Hi", "+254112345679": "ACME: Ho"}},
		"smsbox, headers": {simulator.SMSBox, map[string]any{"auth": "headers"}, []providers.Message{message("+22670000001", "Hi [{ReceiverName}]", nil)},
			map[string]string{"+22670000001": "ACME: Hi [{ReceiverName}]"}},
		"smsbox, basic, later": {simulator.SMSBox, map[string]any{"auth": "basic"}, []providers.Message{message("+22670000001", "Hi", hour), message("+22670000002", "Hi", hour)},
			map[string]string{"+22670000001": "ACME: Hi", "+22670000002": "ACME: Hi"}},
		"smsbox, xml": {simulator.SMSBox, map[string]any{"format": "xml"}, []providers.Message{
			{ID: "1", To: "+22670000001", From: "ACME", Text: "Hi {{n}}, 5 < 6 & \"7\"\n]]>", Variables: map[string]string{"n": "<Asha> & Co"}},
			{ID: "2", To: "+22670000002", From: "ACME", Text: "Hi {{n}}, 5 < 6 & \"7\"\n]]>", Variables: map[string]string{"n": "Ben"}},
		}, map[string]string{"+22670000001": "ACME: Hi <Asha> & Co, 5 < 6 & \"7\"\n]]>", "+22670000002": "ACME: Hi Ben, 5 < 6 & \"7\"\n]]>"}},
		"digitalservices": {simulator.DigitalServices, nil, []providers.Message{message("+250782589800", "a=b&c", nil), message("+250782589801", "a=b&c", nil)},
			map[string]string{"+250782589800": "ACME: a=b&c", "+250782589801": "ACME: a=b&c"}},
		"smsscheduler, later": {simulator.SMSScheduler, map[string]any{"zone": "UTC"}, []providers.Message{message("+33612345678", "Hi", hour)},
			map[string]string{"+33612345678": "123: Hi"}},
		"smsscheduler, STOP": {simulator.SMSScheduler, map[string]any{"message_stop": true}, []providers.Message{message("+33612345678", "Hi", nil)},
			map[string]string{"+33612345678": "123: Hi\nSTOP"}},
		"smsscheduler, no STOP": {simulator.SMSScheduler, map[string]any{"message_stop": true}, []providers.Message{message("+33612345678", "Hi", map[string]string{"message_stop": "false"})},
			map[string]string{"+33612345678": "123: Hi"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := start(t, loose)
			_, texts := j.taken(c.typ, j.account(c.typ, c.account), c.sent...)
			if diff := cmp.Diff(c.want, texts); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRefusals: what a gateway refuses, and why, is understood as it was meant.
func TestRefusals(t *testing.T) { t.Parallel(); each(t, judgeRefusals) }

func judgeRefusals(t *testing.T, loose bool) {
	type want struct {
		class  providers.Class
		bad    []string
		need   providers.Need
		optOut bool
	}
	for name, c := range map[string]struct {
		typ   string
		fault simulator.Fault
		sent  []providers.Message
		want  want // of the last message
	}{
		"cloudrebue, invalid":        {simulator.CloudRebue, simulator.Fault{}, []providers.Message{message("+254712345678", "Hi", nil), message("+254719990001", "Hi", nil)}, want{class: providers.Rejected}},
		"cloudrebue, blacklisted":    {simulator.CloudRebue, simulator.Fault{}, []providers.Message{message("+254719990012", "Hi", nil)}, want{class: providers.Rejected, optOut: true}},
		"cloudrebue, too fast":       {simulator.CloudRebue, simulator.Fault{Kind: "throttle"}, []providers.Message{message("+254712345678", "Hi", nil)}, want{class: providers.Throttled}},
		"smsbox, invalid":            {simulator.SMSBox, simulator.Fault{}, []providers.Message{message("+22679990001", "Hi", nil)}, want{class: providers.Rejected}},
		"smsbox, no money":           {simulator.SMSBox, simulator.Fault{Kind: "balance"}, []providers.Message{message("+22670000001", "Hi", nil)}, want{class: providers.Misconfigured, need: providers.NeedBalance}},
		"digitalservices, invalid":   {simulator.DigitalServices, simulator.Fault{}, []providers.Message{message("+250782589800", "Hi", nil), message("+250789990001", "Hi", nil)}, want{class: providers.RejectedHere, bad: []string{"+250789990001"}}},
		"digitalservices, failed":    {simulator.DigitalServices, simulator.Fault{}, []providers.Message{message("+250789990011", "Hi", nil)}, want{class: providers.RejectedHere}},
		"digitalservices, used up":   {simulator.DigitalServices, simulator.Fault{Kind: "quota"}, []providers.Message{message("+250782589800", "Hi", nil)}, want{class: providers.Throttled, need: providers.NeedQuota}},
		"digitalservices, 500":       {simulator.DigitalServices, simulator.Fault{Kind: "status", Status: 500}, []providers.Message{message("+250782589800", "Hi", nil)}, want{class: providers.Uncertain}},
		"smsscheduler, invalid":      {simulator.SMSScheduler, simulator.Fault{}, []providers.Message{message("+33612345678", "Hi", nil), message("+33619990001", "Hi", nil)}, want{class: providers.Rejected, bad: []string{"+33619990001"}}},
		"smsscheduler, not answered": {simulator.SMSScheduler, simulator.Fault{Kind: "cut"}, []providers.Message{message("+33612345678", "Hi", nil)}, want{class: providers.Uncertain}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := start(t, loose)
			if c.fault.Kind != "" {
				j.faults(c.fault)
			}
			results, err := j.send(j.account(c.typ, nil), c.sent...)
			var got want
			var e *providers.Error
			if errors.As(err, &e) {
				got = want{e.Class, e.BadNumbers, e.Need, e.OptOut}
			} else if err == nil {
				r := results[len(results)-1]
				got = want{class: r.Class, need: r.Need, optOut: r.OptOut}
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

// TestSMSBoxDesk holds, changes and lets go what SMSBox has scheduled, and asks
// for a sender name.
func TestSMSBoxDesk(t *testing.T) { t.Parallel(); each(t, judgeSMSBoxDesk) }

func judgeSMSBoxDesk(t *testing.T, loose bool) {
	j := start(t, loose)
	p := j.account(simulator.SMSBox, nil)
	ids, _ := j.taken(simulator.SMSBox, p, message("+22670000001", "Hi", map[string]string{"scheduled_at": later(time.Hour)}))
	for _, c := range []struct {
		operation string
		args      map[string]string
	}{
		{providers.OpSuspend, nil}, {providers.OpRewrite, map[string]string{"text": "Bye & 5 < 6", "from": "SHOP"}},
		{providers.OpReschedule, map[string]string{"at": later(2 * time.Hour)}}, {providers.OpResume, nil},
	} {
		args := map[string]string{"id": ids[0]}
		maps.Copy(args, c.args)
		shown, err := j.ask(p, c.operation, args)
		if diff := cmp.Diff(any(map[string]any{"id": ids[0]}), shown); err != nil || diff != "" {
			t.Errorf("%s: %v %s", c.operation, err, diff)
		}
	}
	if got := j.texts(simulator.SMSBox)["+22670000001"]; got != "SHOP: Bye & 5 < 6" {
		t.Errorf("it would be sent as %q", got)
	}
	var e *providers.Error
	if _, err := j.ask(p, providers.OpSuspend, map[string]string{"id": "sms-1"}); !errors.As(err, &e) || e.Class != providers.Rejected {
		t.Errorf("an id that nobody has: %v", err)
	}
	name := map[string]string{"name": "My Shop-1", "sample": "Your order is on its way"}
	if _, err := j.ask(p, providers.OpAskSender, name); err != nil {
		t.Error(err)
	}
	if _, err := j.ask(p, providers.OpAskSender, name); !errors.As(err, &e) || e.Code != "122" {
		t.Errorf("the same name again: %v", err)
	}
	shown, err := j.ask(p, providers.OpSenders, map[string]string{"status": "pending"})
	if list, ok := shown.([]any); err != nil || !ok || len(list) != 1 || list[0].(map[string]any)["name"] != "My Shop-1" {
		t.Errorf("sender names: %v, %v", shown, err)
	}
	if money, err := p.(providers.Balancer).Balance(t.Context(), nil); err != nil || money == "" {
		t.Errorf("balance %q, %v", money, err)
	}
}

// TestSMSSchedulerDesk shows and deletes, a whole request and one SMS of it, and
// finds what became of the rest.
func TestSMSSchedulerDesk(t *testing.T) { t.Parallel(); each(t, judgeSMSSchedulerDesk) }

func judgeSMSSchedulerDesk(t *testing.T, loose bool) {
	j := start(t, loose)
	p := j.account(simulator.SMSScheduler, map[string]any{"zone": "UTC"})
	ids, _ := j.taken(simulator.SMSScheduler, p,
		message("+33612345678", strings.Repeat("long ", 40), map[string]string{"scheduled_at": later(time.Hour)}),
		message("+33612345679", strings.Repeat("long ", 40), map[string]string{"scheduled_at": later(time.Hour)}))
	request := map[string]string{"id": ids[0]}
	shown, err := j.ask(p, providers.OpStatus, request)
	list, _ := shown.([]any)
	if err != nil || len(list) != 4 {
		t.Fatalf("%v, %v; want two parts for each of two numbers", shown, err)
	}
	first := list[0].(map[string]any)
	if first["means"] != "Scheduled" || first["status"] != "10" {
		t.Errorf("%v", first)
	}
	part := map[string]string{"id": first["id"].(string), "of": "sms"}
	if shown, err := j.ask(p, providers.OpStatus, part); err != nil || shown.(map[string]any)["to"] != first["to"] {
		t.Errorf("one sms: %v, %v", shown, err)
	}
	found, err := p.(providers.Finder).Find(t.Context(), &providers.Query{ProviderIDs: ids[:1]}, nil)
	if err != nil || len(found.Reports) != 2 || found.Reports[0].Status != providers.ReportPending || found.Done {
		t.Errorf("%+v, %v", found, err)
	}
	if shown, err := j.ask(p, providers.OpCancel, part); err != nil || shown.(map[string]any)["deleted"] != true {
		t.Errorf("one sms deleted: %v, %v", shown, err)
	}
	if shown, err := j.ask(p, providers.OpCancel, request); err != nil || shown.(map[string]any)["deleted"] != 3.0 {
		t.Errorf("the rest deleted: %v, %v", shown, err)
	}
	var e *providers.Error
	if _, err := j.ask(p, providers.OpStatus, request); !errors.As(err, &e) || e.Status != http.StatusNotFound {
		t.Errorf("after that: %v", err)
	}
	blocked, err := j.send(p, message("+33619990006", "Hi", nil))
	if err != nil {
		t.Fatal(err)
	}
	found, err = p.(providers.Finder).Find(t.Context(), &providers.Query{ProviderIDs: []string{blocked[0].ProviderID}}, nil)
	if err != nil || len(found.Reports) != 1 || !found.Reports[0].OptOut || !found.Done {
		t.Errorf("a blacklisted number: %+v, %v", found, err)
	}
}
