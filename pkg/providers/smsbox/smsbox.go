// Package smsbox speaks the SMSBox API ("SMS API Documentation", made with
// apidoc 0.17.6 on 2019-07-02; POST send_sms, GET query_sms_balance, the "Two
// Way SMS" callback).
//
// What is peculiar to it:
//
//   - One text for up to 1,000 recipients, in which [{RECEIVERNAME}] stands for
//     each recipient's own name: one placeholder of ours, of whatever name.
//   - Plain text only (code 110), no encoding other than 0 (code 118).
//   - One message id for the whole request; nobody is named in an answer.
//   - Errors come under any status, 200 included: the code in the body decides.
//   - JSON with a comma too many, and in one sample with single quotes.
//   - No delivery report is documented for what we send, and no look-up:
//     change_sms_info, which calls itself one, changes messages. It is a command
//     of the desk, never a poll.
//   - Requests may be JSON or XML; answers are documented in JSON only.
package smsbox

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// BaseURL is the API's own base URL.
const BaseURL = "https://smsbox.devotek.africa/api/sms/v1"

// maxBatch is the most recipients of one request (code 114).
const maxBatch = 1000

// Credentials of an account.
const (
	keyName    = "api_key"
	secretName = "api_secret"
)

type provider struct {
	http   *httpapi.Client
	header http.Header // of every request; never written to
	xml    bool        // send_sms speaks XML
	batch  int
	now    func() time.Time
}

// Beside sending, an account takes reports and inbound messages and tells its
// balance.
var (
	_ providers.Provider = (*provider)(nil)
	_ providers.Reporter = (*provider)(nil)
	_ providers.Receiver = (*provider)(nil)
	_ providers.Balancer = (*provider)(nil)
	_ providers.Desk     = (*provider)(nil)
)

// Options of an account. Which authentication the server reads is not clear: the
// document's tables demand the headers, its sample scripts send only Basic, and
// code 107 is "Request is missing Authorization Header". So both is the default.
const (
	optionFormat = "format" // json, xml
	optionAuth   = "auth"   // both, headers, basic
)

// New builds an account's adapter. It needs the credentials api_key and
// api_secret and takes the options format (json, or xml) and auth (both, or
// headers or basic alone). The provider also is a Reporter, a Receiver, a
// Balancer and a Desk.
func New(o providers.Options) (providers.Provider, error) {
	if err := httpapi.Credential(o.Credentials, keyName, secretName); err != nil {
		return nil, fmt.Errorf("smsbox: %w", err)
	}
	if err := httpapi.OnlyOptions(o.Options, optionFormat, optionAuth); err != nil {
		return nil, fmt.Errorf("smsbox: %w", err)
	}
	format, err := choice(o.Options, optionFormat, "json", "xml")
	if err != nil {
		return nil, fmt.Errorf("smsbox: %w", err)
	}
	auth, err := choice(o.Options, optionAuth, "both", "headers", "basic")
	if err != nil {
		return nil, fmt.Errorf("smsbox: %w", err)
	}
	client, err := httpapi.New(httpapi.Options{
		BaseURL: o.BaseURL, Default: BaseURL, Timeout: o.Timeout,
		AllowHTTP: o.AllowHTTP, Transport: o.Transport, Now: o.Now, Credentials: o.Credentials,
	})
	if err != nil {
		return nil, fmt.Errorf("smsbox: %w", err)
	}
	p := &provider{
		http: client, header: authentication(o.Credentials, auth), xml: format == "xml",
		batch: httpapi.BatchSize(o.BatchSize, maxBatch), now: o.Now,
	}
	if p.now == nil {
		p.now = time.Now
	}
	return p, nil
}

// choice returns the option of that name, the first of the words by default.
func choice(options map[string]any, name string, words ...string) (string, error) {
	given, ok := options[name]
	if !ok {
		return words[0], nil
	}
	if word, _ := given.(string); slices.Contains(words, word) {
		return word, nil
	}
	return "", fmt.Errorf("options.%s: must be one of %s", name, strings.Join(words, ", "))
}

// authentication returns the credentials in the forms that are asked for.
func authentication(creds map[string]string, forms string) http.Header {
	key, secret := creds[keyName], creds[secretName]
	h := http.Header{}
	if forms != "basic" {
		h["api-key"] = []string{key} // as the document spells them
		h["api-secret"] = []string{secret}
	}
	if forms != "headers" {
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(key+":"+secret)))
	}
	return h
}

// Limits implements providers.Provider.
func (p *provider) Limits() providers.Limits { return providers.Limits{MaxBatch: p.batch} }

// Check refuses what this API would refuse, or would not carry as it is.
func (p *provider) Check(m *providers.Message) error {
	_, _, err := write(m)
	return err
}

// GroupKey is equal for messages of one sender and scheduled time whose texts
// differ at most in the value of their only placeholder.
func (p *provider) GroupKey(m *providers.Message) string {
	w, _, err := write(m)
	if err != nil {
		return "!" + m.ID // refused by Check: it travels with nobody
	}
	return w.sender + "\x00" + strconv.FormatInt(w.minute, 36) + "\x00" + w.text
}
