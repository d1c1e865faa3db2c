package smsbox

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// inbound is the callback of "Two Way SMS". The document's table and two of its
// three scripts call the numbers from and to, the third source_addr and
// dest_addr.
type inbound struct {
	From    httpapi.Scalar  `json:"from"`
	Source  httpapi.Scalar  `json:"source_addr"`
	To      httpapi.Scalar  `json:"to"`
	Dest    httpapi.Scalar  `json:"dest_addr"`
	TimeUTC string          `json:"timeUTC"`
	ID      httpapi.Scalar  `json:"transaction_id"`
	Message json.RawMessage `json:"message"`
}

// received is the answer that the document's sample gives.
type received struct {
	ID         string `json:"transaction_id"`
	Successful bool   `json:"successful"`
}

// ParseInbound implements providers.Receiver. From is in E.164 if it can be; To
// is as told, short codes being no E.164, without a plus. A time that cannot be
// read is the time of arrival. Channels other than SMS are "not supported yet".
func (p *provider) ParseInbound(cb *providers.Callback) (providers.Inbound, string, []byte, error) {
	fail := func(why string) (providers.Inbound, string, []byte, error) {
		return providers.Inbound{}, "", nil, errors.New("smsbox: inbound message " + why)
	}
	var m inbound
	if err := decode(cb.Body, &m); err != nil {
		return fail("is not a JSON object of the documented shape")
	}
	text, ok := m.text()
	in := providers.Inbound{
		ID:   string(m.ID),
		From: number(string(m.From + m.Source)),
		To:   strings.TrimPrefix(strings.TrimSpace(string(m.To+m.Dest)), "+"),
		Text: text,
		Time: cb.Time,
	}
	switch {
	case !ok:
		return fail("has no text")
	case in.ID == "":
		return fail("has no transaction_id")
	case in.From == "" || in.To == "":
		return fail("does not say from whom or to whom")
	case m.From != "" && m.Source != "" || m.To != "" && m.Dest != "":
		return fail("names its numbers twice")
	}
	if t, err := time.Parse(time.RFC1123, m.TimeUTC); err == nil {
		in.Time = t.UTC()
	}
	answer, err := json.Marshal(received{in.ID, true})
	return in, jsonType, answer, err
}

// text returns message.text, or message itself where it is a string: the table
// shows the one and says the other. An empty text is one.
func (m *inbound) text() (string, bool) {
	var object struct {
		Text *string `json:"text"`
	}
	if err := json.Unmarshal(m.Message, &object); err == nil && object.Text != nil {
		return *object.Text, true
	}
	var s *string
	err := json.Unmarshal(m.Message, &s)
	if err != nil || s == nil {
		return "", false
	}
	return *s, true
}

// number returns a handset's number in E.164, or what is no such number as it
// is: other networks' short codes and names send too.
func number(s string) string {
	if e164 := httpapi.E164(s); e164 != "" {
		return e164
	}
	return strings.TrimSpace(s)
}
