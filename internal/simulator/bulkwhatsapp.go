package simulator

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// bulkWhatsAppNumber is the account's own number.
const bulkWhatsAppNumber = "+447700900999"

// bulkTemplates are the account's WhatsApp templates.
type bulkTemplates struct {
	mu   sync.Mutex
	list []bulkTemplate
}

type bulkTemplate struct {
	Name       string          `json:"name"`
	Language   string          `json:"language"`
	Category   string          `json:"category"`
	Status     string          `json:"status"` // PENDING for Options.ReportDelay, then APPROVED
	Components []bulkComponent `json:"components"`
	approved   time.Duration
}

type bulkComponent struct {
	Type       string          `json:"type"`
	Text       string          `json:"text,omitempty"`
	Parameters []bulkParameter `json:"parameters,omitempty"`
}

type bulkParameter struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// newBulkTemplates returns what the account has from the beginning.
func newBulkTemplates() bulkTemplates {
	kept := func(name, language, text string) bulkTemplate {
		return bulkTemplate{Name: name, Language: language, Category: "UTILITY", Components: []bulkComponent{{Type: "body", Text: text}}}
	}
	return bulkTemplates{list: []bulkTemplate{
		kept("order_shipped", "en", "Hi {{1}}, your order {{2}} has been shipped."),
		kept("hello_world", "en_US", "Hello World"),
	}}
}

var (
	bulkTemplateName = regexp.MustCompile(`^[a-z0-9_]{1,512}$`)
	bulkLanguage     = regexp.MustCompile(`^[a-z]{2,3}(_[A-Z]{2})?$`)
	bulkPlaceholder  = regexp.MustCompile(`\{\{(\d+)\}\}`)
)

// whatsApp serves /whatsapp/….
func (g *bulkSMSRates) whatsApp(c *call, path string) reply {
	what, name, _ := strings.Cut(path, "/")
	switch c.req.Method + " " + what {
	case "POST send":
		return g.sendWhatsApp(c)
	case "GET templates":
		g.templates.mu.Lock()
		defer g.templates.mu.Unlock()
		list := slices.Clone(g.templates.list)
		for i := range list {
			if list[i].Status = "APPROVED"; c.at < list[i].approved {
				list[i].Status = "PENDING"
			}
		}
		return g.ok(c, onePage(g, c, list))
	case "POST templates":
		return g.createTemplate(c)
	case "DELETE templates":
		g.templates.mu.Lock()
		defer g.templates.mu.Unlock()
		before := len(g.templates.list)
		g.templates.list = slices.DeleteFunc(g.templates.list, func(t bulkTemplate) bool { return t.Name == name })
		if len(g.templates.list) == before {
			return g.notFound(c)
		}
		return g.ok(c, map[string]any{"data": map[string]bool{"deleted": true}})
	case "GET conversations":
		return g.ok(c, onePage[any](g, c, nil))
	case "GET accounts":
		return g.ok(c, onePage(g, c, []map[string]string{{"id": "waba_1", "display_phone_number": bulkWhatsAppNumber, "status": "connected"}}))
	case "POST webhook":
		return g.fromMeta(c)
	}
	return g.notFound(c)
}

func (g *bulkSMSRates) createTemplate(c *call) reply {
	var in bulkTemplate
	if err := strictJSON(c.body, &in); err != nil {
		return g.invalid(c, fieldOf(err))
	}
	bodies := slices.DeleteFunc(slices.Clone(in.Components), func(x bulkComponent) bool { return x.Type != "body" || x.Text == "" })
	if !bulkTemplateName.MatchString(in.Name) || !bulkLanguage.MatchString(in.Language) || in.Category == "" || in.Status != "" || len(bodies) != 1 {
		return g.invalid(c, "name, language, category and components with a body are required")
	}
	g.templates.mu.Lock()
	defer g.templates.mu.Unlock()
	if g.templates.find(in.Name, in.Language) != nil {
		return g.conflict(c)
	}
	in.Status, in.approved = "PENDING", c.at+max(g.sim.opts.ReportDelay, 0)
	g.templates.list = append(g.templates.list, in)
	return g.ok(c, map[string]any{"data": in})
}

// find returns a template; callers hold mu.
func (t *bulkTemplates) find(name, language string) *bulkTemplate {
	for i := range t.list {
		if t.list[i].Name == name && t.list[i].Language == language {
			return &t.list[i]
		}
	}
	return nil
}

func (t *bulkTemplate) body() string {
	for _, c := range t.Components {
		if c.Type == "body" {
			return c.Text
		}
	}
	return ""
}

// sendWhatsApp takes template messages only, of templates that are approved, with
// as many texts as the template has placeholders.
func (g *bulkSMSRates) sendWhatsApp(c *call) reply {
	var in struct {
		To       string `json:"to"`
		Type     string `json:"type"`
		Template struct {
			Name       string          `json:"name"`
			Language   string          `json:"language"`
			Components []bulkComponent `json:"components"`
		} `json:"template"`
	}
	if err := strictJSON(c.body, &in); err != nil {
		return g.invalid(c, fieldOf(err))
	}
	n, ok := digits(in.To)
	switch {
	case !ok || in.To[0] != '+':
		return g.errorReply(c, http.StatusBadRequest, "INVALID_PHONE_NUMBER", "Destination is not a valid E.164 number", nil)
	case in.Type != "template":
		return g.invalid(c, "type must be template outside an active conversation window")
	}
	g.templates.mu.Lock()
	t := g.templates.find(in.Template.Name, in.Template.Language)
	text, pending := "", false
	if t != nil {
		text, pending = t.body(), c.at < t.approved
	}
	g.templates.mu.Unlock()
	if t == nil || pending {
		return g.notFound(c)
	}
	filled, ok := fillTemplate(text, in.Template.Components)
	if !ok {
		return g.invalid(c, "template.components do not fit the template")
	}
	r := recipient{number: n, from: bulkWhatsAppNumber, text: filled, refused: g.refusal(c, n)}
	if rep, refused := g.refusedAlone(c, r); refused {
		return rep
	}
	if c.faults.moods[faultBalance] {
		return g.broke(c, 1)
	}
	b := &batch{channel: "whatsapp", recipients: []recipient{r}}
	g.take(c, b)
	return g.ok(c, map[string]any{"data": map[string]string{"message_id": g.id(message{b, 0}), "status": "queued"}})
}

// fillTemplate puts the parameters of the body into {{1}}, {{2}} and so on.
func fillTemplate(text string, components []bulkComponent) (string, bool) {
	var values []bulkParameter
	for i, c := range components {
		if c.Type != "body" || i > 0 || c.Text != "" {
			return "", false
		}
		values = c.Parameters
	}
	for _, v := range values {
		if v.Type != "text" || v.Text == "" {
			return "", false
		}
	}
	most := 0
	out := bulkPlaceholder.ReplaceAllStringFunc(text, func(s string) string {
		n, _ := strconv.Atoi(s[2 : len(s)-2])
		if most = max(most, n); n < 1 || n > len(values) {
			return s
		}
		return values[n-1].Text
	})
	return out, most == len(values)
}

// hubCheck serves GET /whatsapp/webhook, by which Meta verifies the address.
func (g *bulkSMSRates) hubCheck(c *call) reply {
	q := c.req.URL.Query()
	if q.Get("hub.mode") != "subscribe" || q.Get("hub.verify_token") != g.sim.credential(BulkSMSRates, "verify_token") {
		return g.errorReply(c, http.StatusForbidden, "FORBIDDEN", "Authenticated but lacking required permission", nil)
	}
	return reply{status: http.StatusOK, body: []byte(q.Get("hub.challenge"))}.with("Content-Type", "text/plain")
}

// fromMeta serves POST /whatsapp/webhook: messages from handsets, as Meta's Cloud
// API tells them.
func (g *bulkSMSRates) fromMeta(c *call) reply {
	var in struct {
		Entry []struct {
			Changes []struct {
				Value struct {
					Messages []struct {
						From string `json:"from"`
						ID   string `json:"id"`
						Text struct {
							Body string `json:"body"`
						} `json:"text"`
					} `json:"messages"`
				} `json:"value"`
			} `json:"changes"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(c.body, &in); err != nil {
		return g.invalid(c, "not valid JSON")
	}
	for _, e := range in.Entry {
		for _, change := range e.Changes {
			for _, m := range change.Value.Messages {
				g.inbound(c.at, bulkInbound{From: "+" + m.From, To: bulkWhatsAppNumber, Text: m.Text.Body, ID: m.ID})
			}
		}
	}
	return g.ok(c, map[string]bool{"received": true})
}
