package dispatch

import (
	"context"
	"strings"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// sayer answers with what it was given.
type sayer struct {
	providers.Provider
	results []providers.Result
	err     error
	panics  any
}

func (s sayer) Send(context.Context, *providers.Batch) ([]providers.Result, error) {
	if s.panics != nil {
		panic(s.panics)
	}
	return s.results, s.err
}

func TestAnswersRepeatNothing(t *testing.T) {
	t.Parallel()
	b := &providers.Batch{Messages: []providers.Message{
		{To: "+254712345678", Text: "Your code is {{c}}, Asha", Variables: map[string]string{"c": "4711"}},
		{To: "+254712345679", Text: "Your code is {{c}}, Asha", Variables: map[string]string{"c": "a longer value of a variable"}},
	}}
	for words, gone := range map[string]bool{
		"": false, "insufficient balance": false, "Your account is closed": false, "invalid recipient #": false,
		"text 'Your code is 9' not allowed": true, "4711": true, "bad value: longer value": true, "254712345679 is blocked": true,
		"code 4712": false,
	} {
		ask := func(s sayer) ([]providers.Result, error) {
			return (&account{o: Account{Provider: s}}).request(t.Context(), b)
		}
		_, err := ask(sayer{err: &providers.Error{Class: providers.Rejected, Status: 400, Code: "E1", Detail: words}})
		e := failure(err)
		if got := e.Detail == withheld; got != gone || e.Class != providers.Rejected || e.Status != 400 || (e.Code == "") != gone {
			t.Errorf("%q: %+v", words, e)
		}
		_, err = ask(sayer{err: &providers.Error{Class: providers.Rejected, Code: words}})
		if got := failure(err).Detail == withheld; got != gone {
			t.Errorf("as a code, %q: %+v", words, failure(err))
		}
		results, _ := ask(sayer{results: []providers.Result{{Class: providers.Accepted}, {Class: providers.Rejected, Detail: words}}})
		of2 := gone && words != "4711" && !strings.Contains(words, "678") // the second message's own
		if got := results[1].Detail == withheld; got != of2 {
			t.Errorf("of one, %q: %+v", words, results[1])
		}
	}
}

func TestAdapterThatPanicsIsUncertain(t *testing.T) {
	t.Parallel()
	a := &account{o: Account{Provider: sayer{panics: "canary-text"}}}
	_, err := a.request(t.Context(), &providers.Batch{Messages: make([]providers.Message, 1)})
	if e := failure(err); e == nil || e.Class != providers.Uncertain || strings.Contains(e.Error(), "canary") {
		t.Errorf("%v", err)
	}
}
