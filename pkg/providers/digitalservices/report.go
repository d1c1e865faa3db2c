package digitalservices

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

var (
	errMethod   = errors.New("digitalservices: a report is a GET")
	errRepeated = errors.New("digitalservices: a report's parameter is repeated")
	errCreds    = errors.New("digitalservices: wrong user name or password of a report")
	errCommand  = errors.New("digitalservices: a report's command is deliver")
	errNameless = errors.New("digitalservices: a report names neither number nor message")
)

// reportParams are the parameters of a report that may say one thing only; others,
// beside the credentials, are not looked at.
var reportParams = [...]string{"dnis", "command", "dlvrMsgId", "dlvrMsgStat"}

// placeholders are what the gateway is to fill in.
var placeholders = [...]string{"$dnis$", "$messageID$", "$status$"}

// dlrURL appends to a callback URL what the gateway is to fill in. Its
// placeholders stand between dollar signs, unescaped.
func (p *provider) dlrURL(callback string) string {
	mark := "?"
	if strings.Contains(callback, "?") {
		mark = "&"
	}
	return callback + mark + "dnis=$dnis$" +
		"&username=" + url.QueryEscape(p.creds["dlr_username"]) +
		"&password=" + url.QueryEscape(p.creds["dlr_password"]) +
		"&command=deliver&dlvrMsgId=$messageID$&dlvrMsgStat=$status$"
}

// VerifyReport implements providers.Reporter: our user name and password, in a
// time that tells nothing of either, and no parameter that says two things. A
// gateway that puts its own behind ours may have others than ours.
func (p *provider) VerifyReport(cb *providers.Callback) error {
	q := said(cb.Query)
	if err := single(cb.Method, q); err != nil {
		return err
	}
	user, password := 0, 0
	for _, v := range q["username"] {
		user |= same(v, p.creds["dlr_username"])
	}
	for _, v := range q["password"] {
		password |= same(v, p.creds["dlr_password"])
	}
	if user&password != 1 {
		return errCreds
	}
	return nil
}

// said returns what the parameters say: each value once, and no placeholder that
// nobody filled in. Where a gateway put its parameters behind ours by a second
// question mark, the first of them hangs on such a placeholder.
func said(query url.Values) url.Values {
	out := url.Values{}
	var add func(name, value string)
	add = func(name, value string) {
		for _, mark := range placeholders {
			if rest, open := strings.CutPrefix(value, mark); open {
				if more, ok := strings.CutPrefix(rest, "?"); ok {
					name, value, _ = strings.Cut(more, "=")
					add(name, value)
				}
				return
			}
		}
		if !slices.Contains(out[name], value) {
			out.Add(name, value)
		}
	}
	for name, values := range query {
		for _, v := range values {
			add(name, v)
		}
	}
	return out
}

func same(got, want string) int {
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:])
}

// single refuses what a gateway never sends and a proxy may read otherwise.
func single(method string, said url.Values) error {
	if method != http.MethodGet {
		return errMethod
	}
	for _, name := range reportParams {
		if len(said[name]) > 1 {
			return errRepeated
		}
	}
	return nil
}

// SelfVerifying implements providers.Reporter. User name and password are the
// same in every report and travel in a URL: they do not replace the capability.
func (p *provider) SelfVerifying() bool { return false }

// ParseReports implements providers.Reporter: one report a call.
func (p *provider) ParseReports(cb *providers.Callback) ([]providers.Report, error) {
	q := said(cb.Query)
	if err := single(cb.Method, q); err != nil {
		return nil, err
	}
	if command := q.Get("command"); command != "" && !strings.EqualFold(command, "deliver") {
		return nil, errCommand
	}
	word := httpapi.Word(q.Get("dlvrMsgStat"))
	r := providers.Report{
		ProviderID: httpapi.ID(q.Get("dlvrMsgId")),
		To:         msisdn(q.Get("dnis")),
		Status:     reportStatus(word),
		Code:       word,
	}
	if r.ProviderID == "" && r.To == "" {
		return nil, errNameless
	}
	return []providers.Report{r}, nil
}
