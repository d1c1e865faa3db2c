package smsbox

import (
	"bytes"
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
	TimeUTC httpapi.Words   `json:"timeUTC"`
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
func (p *provider) ParseInbound(cb *providers.Callback) ([]providers.Inbound, string, []byte, error) {
	fail := func(why string) ([]providers.Inbound, string, []byte, error) {
		return nil, "", nil, errors.New("smsbox: inbound message " + why)
	}
	m, err := readInbound(cb)
	if err != nil {
		return fail("is neither a JSON object of the documented shape nor a form")
	}
	text, ok := m.text()
	from, oneFrom := either(m.From, m.Source)
	to, oneTo := either(m.To, m.Dest)
	in := providers.Inbound{
		ID:   string(m.ID),
		From: number(from),
		To:   strings.TrimPrefix(strings.TrimSpace(to), "+"),
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
	case !oneFrom || !oneTo:
		return fail("names two numbers where one belongs")
	}
	if t, err := time.Parse(time.RFC1123, string(m.TimeUTC)); err == nil {
		in.Time = t.UTC()
	}
	answer, err := json.Marshal(received{in.ID, true})
	return []providers.Inbound{in}, jsonType, answer, err
}

// readInbound reads JSON, as the sample is, or a form, which one of the scripts
// takes too. A form's message is the object as JSON, its parts, or the text.
func readInbound(cb *providers.Callback) (m inbound, err error) {
	body := httpapi.Document(cb.Body)
	if bytes.HasPrefix(body, []byte("{")) {
		err = decode(body, &m)
		return m, err
	}
	form, err := httpapi.Form(cb)
	if err != nil {
		return m, err
	}
	document := make(map[string]any, len(form))
	for name, v := range form {
		document[name] = v
	}
	for _, name := range []string{"message[text]", "message.text"} {
		if text, ok := form[name]; ok {
			document["message"] = text
		}
	}
	var object struct {
		Text *json.RawMessage `json:"text"`
	}
	if decode([]byte(form["message"]), &object) == nil && object.Text != nil {
		document["message"] = object.Text
	}
	whole, err := json.Marshal(document)
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(whole, &m)
}

// either returns what is there of two; ok is false if they differ.
func either(a, b httpapi.Scalar) (s string, ok bool) {
	if a == "" {
		a, b = b, ""
	}
	return string(a), b == "" || a == b
}

// text returns message.text, or message itself where it is a string: the table
// shows the one and says the other. An empty text is one, and so is a number.
func (m *inbound) text() (string, bool) {
	var object struct {
		Text json.RawMessage `json:"text"`
	}
	if err := json.Unmarshal(m.Message, &object); err == nil && len(object.Text) > 0 {
		return typedText(object.Text)
	}
	return typedText(m.Message)
}

// typedText reads a text that may have been taken for a number.
func typedText(raw json.RawMessage) (string, bool) {
	var s *string
	if json.Unmarshal(raw, &s) == nil {
		if s == nil {
			return "", false
		}
		return *s, true
	}
	var n json.Number
	err := json.Unmarshal(raw, &n)
	return n.String(), err == nil
}

// number returns a handset's number in E.164, or what is no such number as it
// is: other networks' short codes and names send too.
func number(s string) string {
	if e164 := httpapi.E164(s); e164 != "" {
		return e164
	}
	return strings.TrimSpace(s)
}
