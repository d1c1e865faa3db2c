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
//     change_sms_info, which calls itself one, changes messages. It is never
//     called here.
package smsbox

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
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
)

// New builds an account's adapter. It needs the credentials api_key and
// api_secret and knows no options. The provider also is a Reporter, a Receiver
// and a Balancer.
func New(o providers.Options) (providers.Provider, error) {
	if err := httpapi.Credential(o.Credentials, keyName, secretName); err != nil {
		return nil, fmt.Errorf("smsbox: %w", err)
	}
	if err := httpapi.OnlyOptions(o.Options); err != nil {
		return nil, fmt.Errorf("smsbox: %w", err)
	}
	client, err := httpapi.New(httpapi.Options{
		BaseURL: o.BaseURL, Default: BaseURL, Timeout: o.Timeout,
		AllowHTTP: o.AllowHTTP, Transport: o.Transport, Now: o.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("smsbox: %w", err)
	}
	p := &provider{
		http: client, header: authentication(o.Credentials),
		batch: httpapi.BatchSize(o.BatchSize, maxBatch), now: o.Now,
	}
	if p.now == nil {
		p.now = time.Now
	}
	return p, nil
}

// authentication returns the credentials in both forms: the document's tables
// demand the headers, its sample scripts send only Basic, and code 107 is
// "Request is missing Authorization Header".
func authentication(creds map[string]string) http.Header {
	key, secret := creds[keyName], creds[secretName]
	h := http.Header{}
	h.Set("api-key", key)
	h.Set("api-secret", secret)
	h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(key+":"+secret)))
	return h
}

// Limits implements providers.Provider.
func (p *provider) Limits() providers.Limits { return providers.Limits{MaxBatch: p.batch} }

// Check refuses what this API would refuse, or would not carry as it is.
func (p *provider) Check(m *providers.Message) error {
	_, err := write(m)
	return err
}

// GroupKey is equal for messages of one sender whose texts differ at most in
// the value of their only placeholder.
func (p *provider) GroupKey(m *providers.Message) string {
	w, err := write(m)
	if err != nil {
		return "!" + m.ID // refused by Check: it travels with nobody
	}
	return w.sender + "\x00" + w.text
}

// receiverName is what the gateway replaces by each recipient's recipient_name.
const receiverName = "[{RECEIVERNAME}]"

// maxName bounds the values that go as a name. The document says "upto X
// Characters" and never gives X; a value that were cut would be a wrong text,
// so longer ones are filled in here and go by equal text.
const maxName = 50

// wire is a message as this API carries it: the sender and text that it shares
// with its batch, and its own name if the text has receiverName in it.
type wire struct{ sender, text, name string }

func write(m *providers.Message) (wire, error) {
	sender := strings.TrimPrefix(m.From, "+") // "No leading + sign"
	if !validSender(sender) {
		return wire{}, refuse(providers.RejectedHere, envelope.InvalidSender,
			"takes senders of at most 11 letters, digits, spaces, dots or hyphens, or a number")
	}
	if !envelope.ValidNumber(m.To) {
		return wire{}, refuse(providers.Rejected, envelope.InvalidNumber, "takes E.164 numbers only")
	}
	text, err := httpapi.Text(m)
	if err != nil {
		return wire{}, err
	}
	if err := checkText(text); err != nil {
		return wire{}, err
	}
	if shared, name, ok := personal(m); ok {
		return wire{sender, shared, name}, nil
	}
	return wire{sender, text, ""}, nil
}

// personal splits a message into the text that it shares with others and a name,
// if it has one placeholder, however often. Its filled text has passed checkText,
// so receiverName stands nowhere but where the placeholder stood.
func personal(m *providers.Message) (shared, name string, ok bool) {
	if m.Variables == nil {
		return "", "", false
	}
	names := envelope.Placeholders(m.Text)
	if len(names) != 1 {
		return "", "", false
	}
	name = m.Variables[names[0]]
	// An empty name may count as a missing parameter (code 104), and outer
	// spaces are what servers trim.
	if name == "" || len(name) > maxName || strings.TrimSpace(name) != name {
		return "", "", false
	}
	shared, err := envelope.Render(m.Text, map[string]string{names[0]: receiverName})
	return shared, name, err == nil
}

// checkText refuses what the gateway would refuse or change.
//
// "Enter a plain text message only. Special characters(Unicode) are not
// supported" (code 110) leaves open whether é or £, which GSM-7 has, count as
// special. Taken narrowly: ASCII, less the backtick, which GSM-7 lacks. The
// price is that texts with accents need another account; the other way round it
// would be whole batches refused.
//
// A text with [{RECEIVERNAME}] in it is refused and not rewritten: there is no
// escape, and as a name (whose length is limited, nobody knows to what) it
// could be cut or filled in a second time.
func checkText(text string) error {
	if text == "" {
		return refuse(providers.Rejected, envelope.InvalidText, "wants a text")
	}
	for i := range len(text) {
		if c := text[i]; c != '\n' && c != '\r' && (c < ' ' || c > '~' || c == '`') {
			return refuse(providers.RejectedHere, envelope.InvalidText, "takes plain ASCII text only")
		}
	}
	if strings.Contains(strings.ToUpper(text), receiverName) {
		return refuse(providers.RejectedHere, envelope.InvalidText, "would fill in "+receiverName)
	}
	return nil
}

// validSender reports whether s is "Limited to 11 characters if text" of
// "numbers, letters and the following special characters . - and space" (code
// 121), "Or valid mobile number in valid international number format".
func validSender(s string) bool {
	if strings.TrimSpace(s) == "" || len(s) > 15 {
		return false
	}
	number := true
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == ' ', c == '.', c == '-':
			number = false
		default:
			return false
		}
	}
	return number || len(s) <= 11
}

func refuse(class providers.Class, code envelope.Code, detail string) error {
	return &providers.Error{Class: class, Code: string(code), Detail: detail}
}
