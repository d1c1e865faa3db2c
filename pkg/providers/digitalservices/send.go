package digitalservices

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// answer is what every request gets. The text, which each recipient repeats, is
// not read.
type answer struct {
	Status    httpapi.Words           `json:"status"`
	Message   httpapi.Words           `json:"message"`
	Unit      httpapi.Words           `json:"unit"`
	Responses httpapi.List[recipient] `json:"response"`
}

func (a *answer) says(words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(string(a.Status), w) })
}

type recipient struct {
	Status    httpapi.Words  `json:"status"`
	ID        httpapi.Scalar `json:"messageid"`
	Recipient httpapi.Scalar `json:"recipient"`
	Cost      httpapi.Words  `json:"cost"`
}

var errMixed = errors.New("digitalservices: a batch of several senders or texts")

// Send implements providers.Provider.
func (p *provider) Send(ctx context.Context, b *providers.Batch) ([]providers.Result, error) {
	form, err := p.form(b)
	if err != nil {
		return nil, err
	}
	resp, err := p.http.Do(ctx, httpapi.Request{
		Method:      http.MethodPost,
		Path:        "/sms/send",
		Header:      http.Header{"Accept": {"application/json"}},
		ContentType: "application/x-www-form-urlencoded",
		Body:        []byte(form),
		Start:       b.Start,
		Fence:       b.Fence,
	})
	if err != nil {
		return nil, err
	}
	var a answer
	if json.Unmarshal(resp.Body, &a) != nil {
		return nil, p.http.Failure(resp)
	}
	// The recipients' own words count unless the whole is an error.
	if resp.Status >= 200 && resp.Status < 300 && (a.says("success", "true") || len(a.Responses) > 0 && !a.says("error", "false")) {
		return match(&a, b.Messages), nil
	}
	return nil, p.failure(resp, &a, b.Messages)
}

// form writes the body by hand, as its order matters.
func (p *provider) form(b *providers.Batch) (string, error) {
	text, err := httpapi.Text(&b.Messages[0])
	if err != nil {
		return "", err
	}
	group := p.GroupKey(&b.Messages[0])
	numbers := make([]string, len(b.Messages))
	for i := range b.Messages {
		if p.GroupKey(&b.Messages[i]) != group { // else somebody gets another's text
			return "", &providers.Error{Class: providers.Unavailable, Err: errMixed}
		}
		numbers[i] = httpapi.Digits(b.Messages[i].To)
	}
	fields := [][2]string{
		{"api_key", p.creds["api_key"]},
		{"username", p.creds["username"]},
		{"sender", b.Messages[0].From},
		{"recipients", strings.Join(numbers, ",")},
		{"message", text},
	}
	if b.CallbackURL != "" {
		fields = append(fields, [2]string{"dlrurl", p.dlrURL(b.CallbackURL)})
	}
	fields = append(fields, [2]string{"password", p.creds["password"]})
	var out strings.Builder
	for i, f := range fields {
		if i > 0 {
			out.WriteByte('&')
		}
		out.WriteString(f[0] + "=" + url.QueryEscape(f[1]))
	}
	return out.String(), nil
}

// failure reads an answer that refuses the whole request.
func (p *provider) failure(resp *httpapi.Response, a *answer, messages []providers.Message) error {
	e := p.http.Failure(resp)
	if !a.says("error", "false") {
		return e
	}
	e.Detail = httpapi.Trim(string(a.Message))
	if resp.Status == http.StatusServiceUnavailable {
		e.Class = providers.Unavailable // the API itself says so, not a proxy
	}
	words := strings.ToLower(strings.TrimSpace(string(a.Message)))
	for _, f := range failures {
		tail, found := strings.CutPrefix(words, strings.ToLower(f.words))
		// Errors are documented with their statuses; under a 2xx the words count alone.
		if !found || resp.Status != f.status && resp.Status/100 != 2 {
			continue
		}
		e.Class, e.Err, e.Bisect = f.class, nil, false
		switch f.remedy {
		case nextDay:
			e.Need, e.RetryAfter = providers.NeedQuota, untilTomorrow(p.now())
		case badNumbers:
			e.BadNumbers = named(tail, messages)
			e.Bisect = len(e.BadNumbers) == 0
		}
		break
	}
	return e
}

// doubt is how long after midnight in Kigali another midnight may still be meant:
// UTC's comes two hours later, and clocks differ.
const doubt = 3 * time.Hour

// untilTomorrow is how long nothing will be taken: until a minute past the next
// midnight in Kigali, which is two hours ahead of UTC all year. A day that has
// hardly begun may not have begun over there: an hour then.
func untilTomorrow(now time.Time) time.Duration {
	now = now.In(time.FixedZone("CAT", 2*60*60))
	y, m, d := now.Date()
	if now.Sub(time.Date(y, m, d, 0, 0, 0, 0, now.Location())) < doubt {
		return time.Hour
	}
	return time.Date(y, m, d+1, 0, 1, 0, 0, now.Location()).Sub(now)
}

// minNational is the least digits by which a number without its country code
// names one of ours.
const minNational = 8

// named finds the numbers of a comma list in the batch. The gateway writes them
// as it likes: 0781234567 is +250781234567, if no other number ends so.
func named(list string, messages []providers.Message) []string {
	var found []string
	for part := range strings.SplitSeq(list, ",") {
		tail := strings.TrimLeft(strings.TrimLeft(strings.TrimSpace(part), "+"), "0")
		if len(tail) < minNational {
			continue
		}
		var hits []string
		for i := range messages {
			if strings.HasSuffix(messages[i].To, tail) {
				hits = append(hits, messages[i].To)
			}
		}
		if len(hits) == 1 {
			found = append(found, hits[0])
		}
	}
	return found
}

// match gives every message its answer by number. Messages that no answer
// speaks of are uncertain; of two answers for one number the better one counts.
func match(a *answer, messages []providers.Message) []providers.Result {
	results := make([]providers.Result, len(messages))
	index := make(map[string]int, len(messages))
	for i := range messages {
		index[messages[i].To] = i
		results[i] = providers.Result{Class: providers.Uncertain, Detail: "the answer does not speak of this message"}
	}
	answered := make([]bool, len(messages))
	for _, r := range a.Responses {
		i, ok := index[msisdn(string(r.Recipient))]
		if r.Recipient == "" && len(messages) == 1 && len(a.Responses) == 1 { // of whom else
			i, ok = 0, true
		}
		if !ok || answered[i] && results[i].Class == providers.Accepted {
			continue
		}
		results[i], answered[i] = r.result(string(a.Unit)), true
	}
	return results
}

func (r *recipient) result(unit string) providers.Result {
	out := providers.Result{
		Class:      resultClass(string(r.Status)),
		ProviderID: string(r.ID),
		Cost:       httpapi.Word(strings.TrimSpace(string(r.Cost) + " " + unit)),
	}
	if out.Class != providers.Accepted {
		out.Code = httpapi.Word(string(r.Status))
	}
	if r.Cost == "" {
		out.Cost = ""
	}
	return out
}
