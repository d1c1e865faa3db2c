package digitalservices

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
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

// reportParams are the parameters of a report; others are not looked at.
var reportParams = [...]string{"dnis", "username", "password", "command", "dlvrMsgId", "dlvrMsgStat"}

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

// VerifyReport implements providers.Reporter: each parameter at most once, and
// our user name and password, in a time that tells nothing of either.
func (p *provider) VerifyReport(cb *providers.Callback) error {
	if err := single(cb); err != nil {
		return err
	}
	user := same(cb.Query.Get("username"), p.creds["dlr_username"])
	password := same(cb.Query.Get("password"), p.creds["dlr_password"])
	if user&password != 1 {
		return errCreds
	}
	return nil
}

func same(got, want string) int {
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:])
}

// single refuses what a gateway never sends and a proxy may read otherwise.
func single(cb *providers.Callback) error {
	if cb.Method != http.MethodGet {
		return errMethod
	}
	for _, name := range reportParams {
		if len(cb.Query[name]) > 1 {
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
	if err := single(cb); err != nil {
		return nil, err
	}
	if !strings.EqualFold(cb.Query.Get("command"), "deliver") {
		return nil, errCommand
	}
	word := httpapi.Word(cb.Query.Get("dlvrMsgStat"))
	r := providers.Report{
		ProviderID: httpapi.ID(cb.Query.Get("dlvrMsgId")),
		To:         httpapi.E164(cb.Query.Get("dnis")),
		Status:     reportStatus(word),
		Code:       word,
	}
	if r.ProviderID == "" && r.To == "" {
		return nil, errNameless
	}
	return []providers.Report{r}, nil
}
