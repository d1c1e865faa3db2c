package cloudrebue

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// Send implements providers.Provider.
func (p *provider) Send(ctx context.Context, b *providers.Batch) ([]providers.Result, error) {
	items := make([]item, len(b.Messages))
	for i := range b.Messages {
		m := &b.Messages[i]
		text, err := httpapi.Text(m)
		if err != nil {
			return nil, err // Check has refused such a message: nothing of the batch is sent
		}
		items[i] = item{m.From, text, httpapi.Digits(m.To), m.ID, m.Options[linkID], b.CallbackURL}
	}
	resp, err := p.http.Do(ctx, httpapi.Request{
		Method:      http.MethodPost,
		Path:        "/send-sms",
		Header:      http.Header{"Authorization": {"Bearer " + p.token}, "Accept": {"application/json"}},
		ContentType: "application/json",
		Body:        write(items),
		Start:       b.Start,
		Fence:       b.Fence,
	})
	if err != nil {
		return nil, err
	}
	return p.read(resp, b.Messages)
}

func (p *provider) read(resp *httpapi.Response, messages []providers.Message) ([]providers.Result, error) {
	answers, array, err := readAnswers(resp.Body)
	if err != nil {
		return nil, p.http.Failure(resp)
	}
	ok := resp.Status >= 200 && resp.Status < 300
	switch {
	case !ok && !slices.ContainsFunc(answers, tookOne), refusesAll(answers, array):
		return nil, p.refused(resp, answers)
	case len(answers) == 0:
		return nil, p.http.Failure(resp)
	}
	return match(answers, messages), nil
}

// tookOne reports whether an answer says of a certain message that it was queued.
// That counts under any status: refused as a whole, it would be sent again.
func tookOne(a answer) bool { return a.Status.True && !a.nameless() }

// refusesAll reports whether an answer refuses the request as a whole. In an array
// such as other answers are it does so by what is said of an account; other words
// may be about one message of several.
func refusesAll(answers []answer, array bool) bool {
	if len(answers) != 1 || answers[0].Status.True || !answers[0].empty() {
		return false
	}
	class := refusal(string(answers[0].Message)).class
	return !array || class == providers.Misconfigured || class == providers.Throttled
}

// readAnswers reads the elements that can be read.
func readAnswers(body []byte) (answers []answer, array bool, err error) {
	answers = readArray(body) // the usual case
	whole := answers != nil
	if !whole {
		var raw []json.RawMessage
		if raw, array, err = httpapi.Objects(body); err != nil {
			return nil, false, err
		}
		answers = make([]answer, len(raw))
		for i, r := range raw {
			if json.Unmarshal(r, &answers[i]) != nil {
				answers[i].Status = httpapi.Truth{}
			}
		}
	}
	return slices.DeleteFunc(answers, func(a answer) bool { return !a.Status.Known }), array || whole, nil
}

// refused reads an answer that refuses the request as a whole: by its HTTP
// status, or under a 2xx by its words.
func (p *provider) refused(resp *httpapi.Response, answers []answer) error {
	e := p.http.Failure(resp)
	own := len(answers) == 1 && !answers[0].Status.True
	if !own {
		return e
	}
	words := string(answers[0].Message)
	switch {
	case resp.Status == http.StatusServiceUnavailable:
		e.Class = providers.Unavailable // the API itself says so, not a proxy
	case resp.Status < 300:
		r := refusal(words)
		e.Class, e.Need, e.OptOut, e.Err = r.class, r.need, r.optOut, nil
		e.Bisect = e.Class == providers.RejectedHere || e.Class == providers.Rejected
	}
	e.Detail = httpapi.Trim(words)
	return e
}

// match gives every message its answer: by correlator, else by phone. An answer
// that names neither counts only where it can belong to nobody else. Messages
// that no answer speaks of are uncertain.
func match(answers []answer, messages []providers.Message) []providers.Result {
	results := make([]providers.Result, len(messages))
	index := index{messages: messages}
	var rest []providers.Result // of answers that are about none of ours
	strange := false            // one of them names another's
	var place [1]int
	for n := range answers {
		a := &answers[n]
		r := a.result()
		places := a.find(&index, n, place[:0])
		if len(places) == 0 {
			rest, strange = append(rest, r), strange || !a.nameless()
		}
		for _, i := range places {
			if results[i].Class != providers.Accepted { // twice: the one that says "taken" counts
				results[i] = r
			}
		}
	}
	fill(results, rest, strange)
	return results
}

// index finds a request's messages. Its maps are made when an answer is not in its
// message's place, which it nearly always is.
type index struct {
	messages    []providers.Message
	ids, phones map[string]int
}

// id finds a message by its correlator, first at the place n.
func (x *index) id(id string, n int) (i int, ok bool) {
	if n < len(x.messages) && x.messages[n].ID == id {
		return n, true
	}
	if x.ids == nil {
		x.ids = make(map[string]int, len(x.messages))
		for i := range x.messages {
			x.ids[x.messages[i].ID] = i
		}
	}
	i, ok = x.ids[id]
	return i, ok
}

func (x *index) phone(number string) (i int, ok bool) {
	if x.phones == nil {
		x.phones = make(map[string]int, len(x.messages))
		for i := range x.messages {
			x.phones[x.messages[i].To] = i
		}
	}
	i, ok = x.phones[number]
	return i, ok
}

// find appends the places of the messages that the n-th answer is about: the one
// whose correlator it has, or those whose phones it names.
func (a *answer) find(x *index, n int, places []int) []int {
	if a.Data == nil {
		return nil
	}
	if i, ok := x.id(string(a.Data.Correlator), n); ok {
		places = append(places, i)
	} else if a.Data.Correlator != "" {
		return nil // of another request; its phone proves nothing
	}
	phones := string(a.Data.Phone)
	if len(places) > 0 && !strings.Contains(phones, ",") {
		return places // the usual answer
	}
	for phone := range strings.SplitSeq(phones, ",") {
		if i, ok := x.phone(msisdn(phone)); ok && !slices.Contains(places, i) {
			places = append(places, i)
		}
	}
	return places
}

// fill hands answers that name nobody to the messages without one, if there are as
// many of one as of the other and all say the same; which id is whose they do not
// say. What is left is uncertain.
func fill(results, nameless []providers.Result, strange bool) {
	open := 0
	for i := range results {
		if results[i].Class == 0 {
			open++
		}
	}
	rest := providers.Result{Class: providers.Uncertain, Detail: "the answer does not speak of this message"}
	if open == len(nameless) && open > 0 && alike(nameless) && (nameless[0].Class != providers.Accepted || !strange) {
		if rest = nameless[0]; open > 1 && rest.Class == providers.Accepted {
			rest = providers.Result{Class: providers.Accepted}
		}
	}
	for i := range results {
		if results[i].Class == 0 {
			results[i] = rest
		}
	}
}

func alike(list []providers.Result) bool {
	for _, r := range list {
		if r.Class != list[0].Class || r.Detail != list[0].Detail {
			return false
		}
	}
	return true
}

func (a *answer) result() providers.Result {
	r := providers.Result{Class: providers.Accepted}
	if !a.Status.True {
		said := refusal(string(a.Message))
		r.Class, r.Need, r.OptOut = said.class, said.need, said.optOut
		r.Detail = httpapi.Trim(string(a.Message))
	}
	if a.Data != nil {
		r.ProviderID = string(a.Data.UniqueID)
		r.Operator = httpapi.Word(string(a.Data.Operator))
		if a.Data.Units != "" {
			if n, err := strconv.Atoi(string(a.Data.Units)); err == nil && n > 0 {
				r.Segments = n
			}
		}
	}
	return r
}
