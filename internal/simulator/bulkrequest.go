package simulator

import (
	"net/http"
	"strings"
	"time"
)

// The one text that is kept for template_id: the document's example of a template.
const (
	bulkSavedTemplate = "550e8400-e29b-41d4-a716-446655440000"
	bulkSavedText     = "Hi {{name}}, code: {{code}}"
)

// bulkCommon is what single and bulk sends share.
type bulkCommon struct {
	From      *string `json:"from"`
	Body      *string `json:"body"`
	ClientRef string  `json:"client_ref"`
	Scheduled *string `json:"scheduled_at"`
	Validity  *int    `json:"validity_minutes"`
	Unicode   bool    `json:"unicode"`
	Template  *string `json:"template_id"`
}

type bulkTo struct {
	To        *string           `json:"to"`
	Variables map[string]string `json:"variables"`
}

// check judges the common fields; ok is true when all is well.
func (g *bulkSMSRates) check(c *call, in *bulkCommon, b *batch) (rep reply, ok bool) {
	switch {
	case in.Template != nil && *in.Template != bulkSavedTemplate:
		return g.notFound(c), false
	case in.From == nil || in.Body == nil || *in.Body == "":
		return g.invalid(c, "from and body are required"), false
	case !bulkSender(*in.From):
		return g.errorReply(c, http.StatusBadRequest, "INVALID_SENDER_ID", "Sender ID not approved or too long", nil), false
	case len([]rune(*in.Body)) > bulkMaxText:
		return g.errorReply(c, http.StatusBadRequest, "MESSAGE_TOO_LONG", "Body exceeds maximum character limit", nil), false
	case in.Validity != nil && *in.Validity < 1:
		return g.invalid(c, "validity_minutes must be positive"), false
	}
	if in.Scheduled != nil {
		at, err := time.Parse(time.RFC3339, *in.Scheduled)
		if err != nil || !strings.HasSuffix(*in.Scheduled, "Z") || at.Sub(g.sim.start)-c.at > bulkScheduled {
			return g.invalid(c, "scheduled_at must be an ISO 8601 UTC time, max 30 days ahead"), false
		}
		b.sendAt = at.Sub(g.sim.start)
	}
	b.ref, b.noRef = in.ClientRef, c.faults.moods[faultNoClientRef]
	return reply{}, true
}

// bulkSender wants "up to 11 alphanum chars, or number".
func bulkSender(s string) bool {
	if _, ok := digits(s); ok {
		return true
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 11
}

// recipient makes one recipient; a text that lacks a value is refused, while a
// text without any variables is taken as typed.
func (in *bulkCommon) recipient(g *bulkSMSRates, c *call, to bulkTo) recipient {
	r := recipient{from: *in.From, text: *in.Body}
	if in.Template != nil {
		r.text = bulkSavedText
	}
	n, ok := digits(*to.To)
	if !ok || !strings.HasPrefix(*to.To, "+") {
		r.refused = refusedInvalid
		return r
	}
	r.number, r.refused = n, g.refusal(c, n)
	if to.Variables != nil {
		var missing string
		if r.text, missing = fill(r.text, to.Variables); missing != "" && r.refused == "" {
			r.refused = "missing_variable"
		}
	}
	return r
}
