package bulksmsrates

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

const whatsAppPath = "/whatsapp/send"

// WhatsApp's own rules for the name and language of a template.
var (
	templateName     = regexp.MustCompile(`^[a-z0-9_]{1,512}$`)
	templateLanguage = regexp.MustCompile(`^[a-z]{2,3}(_[A-Z]{2,3})?$`)
)

// whatsAppRequest is the body of POST /whatsapp/send ("Send Template Message").
// It has no place for a reference of ours.
type whatsAppRequest struct {
	To       string     `json:"to"`
	Type     string     `json:"type"`
	Template waTemplate `json:"template"`
}

type waTemplate struct {
	Name       string        `json:"name"`
	Language   string        `json:"language"`
	Components []waComponent `json:"components,omitempty"`
}

type waComponent struct {
	Type       string        `json:"type"`
	Parameters []waParameter `json:"parameters"`
}

type waParameter struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// checkWhatsApp refuses what cannot be sent by WhatsApp: the document shows
// templates with texts in their body, and nothing else.
func checkWhatsApp(m *providers.Message) error {
	t := m.Template
	switch {
	case m.Channel != providers.WhatsApp:
		return refuse(providers.RejectedHere, envelope.InvalidEnvelope, "carries SMS and WhatsApp only")
	case !envelope.ValidNumber(m.To):
		return refuse(providers.Rejected, envelope.InvalidNumber, "takes E.164 numbers only")
	case t == nil || m.Text != "":
		return refuse(providers.RejectedHere, envelope.InvalidText, "sends templates only by WhatsApp")
	case !templateName.MatchString(t.Name):
		return refuse(providers.RejectedHere, envelope.InvalidText, "a template's name has small letters, digits and _ only")
	case !templateLanguage.MatchString(t.Language):
		return refuse(providers.RejectedHere, envelope.InvalidText, "a template's language is a code such as en or en_US")
	case len(m.Options) > 0:
		return badOption("has no options for WhatsApp")
	}
	for _, p := range t.Parameters {
		if p == "" {
			return refuse(providers.Rejected, envelope.InvalidText, "a template's parameters are not empty")
		}
	}
	return nil
}

// sendWhatsApp sends one message. The answer is not documented; its id is looked
// for where this API and Meta's put theirs.
func (p *provider) sendWhatsApp(ctx context.Context, b *providers.Batch) ([]providers.Result, error) {
	m := &b.Messages[0]
	if len(b.Messages) > 1 {
		return nil, &providers.Error{Class: providers.RejectedHere, Bisect: true, Err: errMixed}
	}
	if err := checkWhatsApp(m); err != nil {
		return nil, err
	}
	r := whatsAppRequest{To: m.To, Type: "template", Template: waTemplate{Name: m.Template.Name, Language: m.Template.Language}}
	if len(m.Template.Parameters) > 0 {
		c := waComponent{Type: "body"}
		for _, text := range m.Template.Parameters {
			c.Parameters = append(c.Parameters, waParameter{"text", text})
		}
		r.Template.Components = []waComponent{c}
	}
	body, err := httpapi.JSON(r)
	if err != nil {
		return nil, err
	}
	resp, err := p.do(ctx, httpapi.Request{Method: http.MethodPost, Path: whatsAppPath, ContentType: jsonType, Body: body, Start: b.Start, Fence: b.Fence})
	switch {
	case err != nil:
		return nil, err
	case resp.Status/100 != 2:
		e := p.failure(resp, 1)
		if e.Code == "FORBIDDEN" { // WhatsApp is "Beta", and SMS may be allowed all the same
			e.Class, e.RetryAfter = providers.RejectedHere, 0
		}
		return nil, named(e)
	}
	return p.readWhatsApp(resp)
}

func (p *provider) readWhatsApp(resp *httpapi.Response) ([]providers.Result, error) {
	top, err := read(resp.Body)
	if err != nil {
		return nil, p.failure(resp, 1)
	}
	a := top.within("data")
	id := a.id("messageId", "message_id", "wa_message_id", "id")
	if list, ok := a.value("messages").([]any); ok && id == "" && len(list) == 1 {
		if inner, ok := list[0].(map[string]any); ok {
			id = fields{inner}.id("id")
		}
	}
	if id == "" {
		return nil, p.failure(resp, 1)
	}
	r := providers.Result{Class: providers.Accepted, ProviderID: id, Code: httpapi.Word(a.first("status")), RetryAfter: spent(resp.Header, p.now())}
	if refusedStates[strings.ToLower(r.Code)] {
		r.Class, r.RetryAfter = providers.RejectedHere, 0
	}
	return []providers.Result{r}, nil
}

// named says what an error means for a request that names something kept at the
// gateway: what does not exist is that, not the account's base URL.
func named(e *providers.Error) *providers.Error {
	if e.Code == "NOT_FOUND" {
		e.Class, e.RetryAfter = providers.RejectedHere, 0
	}
	return e
}
