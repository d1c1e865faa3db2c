package simulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// bulkSMSRates plays the BulkSMSRates API: log-in, sending, campaigns, WhatsApp,
// look-ups, balance, webhooks.
type bulkSMSRates struct {
	sim       *Simulator
	shelf     shelf
	auth      bulkAuth
	hooks     bulkHooks
	reports   bulkReports
	campaigns bulkCampaigns
	templates bulkTemplates
	senders   bulkSenders
	out       bulkOut
	told      atomic.Uint64 // events and inbound messages, for their ids
}

const (
	bulkMax       = 10_000
	bulkMaxText   = 1600 // ours: the document names no limit
	bulkCost      = 350  // per segment, as in the example's estimate
	bulkBalance   = 1_000_000_000
	bulkScheduled = 30 * 24 * time.Hour // "max 30 days ahead"
)

func newBulkSMSRates(s *Simulator) *bulkSMSRates {
	g := &bulkSMSRates{sim: s}
	g.hooks = bulkHooks{sim: s}
	g.templates = newBulkTemplates()
	if url := s.opts.Callbacks[BulkSMSRates]; url != "" {
		g.hooks.add(url, []string{"dlr"})
	}
	return g
}

func (g *bulkSMSRates) requestID(c *call) string {
	return "req_" + strconv.FormatUint(c.entry.seq, 36)
}

func (g *bulkSMSRates) errorReply(c *call, status int, code, message string, details any) reply {
	type problem struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Details any    `json:"details"`
	}
	if details == nil {
		details = struct{}{}
	}
	return g.decorate(c, jsonReply(status, map[string]any{
		"error": problem{code, message, details},
		"meta":  map[string]string{"request_id": g.requestID(c)},
	}).because(code))
}

// decorate adds the rate headers that every answer has.
func (g *bulkSMSRates) decorate(c *call, r reply) reply {
	if c.rate.limit > 0 {
		r = r.with("X-RateLimit-Limit", strconv.Itoa(c.rate.limit)).
			with("X-RateLimit-Remaining", strconv.Itoa(c.rate.remaining)).
			with("X-RateLimit-Reset", strconv.FormatInt(c.rate.reset.Unix(), 10))
	}
	return r
}

func (g *bulkSMSRates) invalid(c *call, message string) reply {
	return g.errorReply(c, http.StatusBadRequest, "VALIDATION_ERROR", message, nil)
}

func (g *bulkSMSRates) notFound(c *call) reply {
	return g.errorReply(c, http.StatusNotFound, "NOT_FOUND", "Resource does not exist", nil)
}

func (g *bulkSMSRates) ok(c *call, v any) reply { return g.decorate(c, jsonReply(http.StatusOK, v)) }

func (g *bulkSMSRates) answer(c *call) reply {
	h := c.req.Header
	route, id, _ := strings.Cut(strings.TrimPrefix(c.op, "/"), "/")
	switch {
	case route == "auth" && c.req.Method == http.MethodPost:
		return g.auth.answer(g, c, id)
	case c.req.Method == http.MethodGet && c.op == "/whatsapp/webhook": // who asks proves itself by its token
		return g.hubCheck(c)
	case !g.auth.known(g, c):
		return g.unknown(c)
	case c.req.Method != http.MethodGet && len(c.body) > 0 && contentType(c.req) != "application/json":
		return g.invalid(c, "Content-Type must be application/json")
	}
	sandbox := h.Get("X-Sandbox") == "true" || strings.HasPrefix(h.Get("X-API-Key"), "bsms_test_")
	if !sandbox && strings.HasPrefix(c.req.URL.Path, "/bulksmsrates/api/") {
		return g.notFound(c)
	}
	switch route {
	case "campaigns":
		return g.campaign(c, id)
	case "whatsapp":
		return g.whatsApp(c, id)
	}
	switch c.req.Method + " " + route {
	case "POST sms":
		switch {
		case id == "send" && sandbox:
			return g.sandboxSend(c)
		case id == "send":
			return g.send(c)
		case id == "bulk":
			return g.bulk(c, sandbox)
		}
	case "GET sandbox":
		if id == "reset" && sandbox {
			return g.ok(c, map[string]any{"data": map[string]bool{"reset": true}})
		}
	case "GET sms":
		if id == "" {
			return g.list(c)
		}
		return g.status(c, id)
	case "GET reports":
		return g.cachedReport(c, id)
	case "GET contacts":
		if id == "" {
			return g.out.contacts(g, c)
		}
	case "GET auth":
		if id == "me" {
			return g.ok(c, map[string]any{"data": map[string]string{"email": g.sim.credential(BulkSMSRates, "email")}})
		}
	}
	return g.account(c)
}

// account serves what is about the account itself.
func (g *bulkSMSRates) account(c *call) reply {
	if hook, ok := strings.CutPrefix(c.op, "/settings/webhooks"); ok {
		return g.hooks.answer(g, c, strings.TrimPrefix(hook, "/"))
	}
	switch c.req.Method + " " + c.op {
	case "GET /billing/balance":
		return g.balance(c)
	case "GET /billing/usage":
		n := 0
		for _, b := range g.shelf.all() {
			for i := range b.recipients {
				if r := &b.recipients[i]; r.refused == "" {
					n += segments(r.text)
				}
			}
		}
		return g.ok(c, map[string]any{"data": map[string]any{"segments": n, "cost": n * bulkCost, "currency": "GBP"}})
	case "GET /settings/sender-ids", "POST /settings/sender-ids":
		return g.senders.answer(g, c)
	}
	return g.notFound(c)
}

// refusal says why number is refused by itself.
func (g *bulkSMSRates) refusal(c *call, number uint64) string {
	if why := c.refusal(number); why != "" || !g.out.has(number) {
		return why
	}
	return refusedOptOut
}

// refusedAlone is the answer for a request of one recipient that is refused.
func (g *bulkSMSRates) refusedAlone(c *call, r recipient) (rep reply, refused bool) {
	switch r.refused {
	case "":
		return reply{}, false
	case refusedInvalid:
		return g.errorReply(c, http.StatusBadRequest, "INVALID_PHONE_NUMBER", "Destination is not a valid E.164 number", nil), true
	case refusedOptOut:
		return g.errorReply(c, http.StatusUnprocessableEntity, "OPT_OUT", "Recipient has opted out of receiving messages", nil), true
	case refusedBlacklist:
		return g.errorReply(c, http.StatusUnprocessableEntity, "BLACKLISTED", "Destination number is blacklisted", nil), true
	case refusedUnnamed:
		return g.invalid(c, "The request was not valid"), true
	}
	return g.invalid(c, r.refused), true
}

// take takes a batch, with all that comes of it.
func (g *bulkSMSRates) take(c *call, b *batch) {
	c.accept(&g.shelf, b)
	g.aftermath(b)
}

func (g *bulkSMSRates) send(c *call) reply {
	var in struct {
		bulkCommon
		bulkTo
	}
	if err := strictJSON(c.body, &in); err != nil {
		return g.invalid(c, fieldOf(err))
	}
	if in.To == nil {
		return g.invalid(c, "to is required")
	}
	b := &batch{}
	if rep, ok := g.check(c, &in.bulkCommon, b); !ok {
		return rep
	}
	r := in.recipient(g, c, in.bulkTo)
	b.recipients = []recipient{r}
	n := segments(r.text)
	if rep, refused := g.refusedAlone(c, r); refused {
		return rep
	}
	if c.faults.moods[faultBalance] {
		return g.broke(c, n)
	}
	g.take(c, b)
	id := g.id(message{b, 0})
	return g.ok(c, struct {
		ID         string  `json:"id"`
		MessageID  string  `json:"messageId"`
		Status     string  `json:"status"`
		Segments   int     `json:"segments"`
		CostMicros int     `json:"cost_micros"`
		Cost       float64 `json:"cost"`
	}{id, id, "queued", n, 35000 * n, float64(35000*n) / 1e6})
}

func (g *bulkSMSRates) broke(c *call, n int) reply {
	return g.errorReply(c, http.StatusUnprocessableEntity, "INSUFFICIENT_BALANCE",
		"Wallet balance too low to send "+strconv.Itoa(n)+" segments", map[string]int{"required": bulkCost * n, "available": 0})
}

func (g *bulkSMSRates) bulk(c *call, sandbox bool) reply {
	var in struct {
		bulkCommon
		Recipients []bulkTo `json:"recipients"`
	}
	if err := strictJSON(c.body, &in); err != nil {
		return g.invalid(c, fieldOf(err))
	}
	if len(in.Recipients) == 0 || len(in.Recipients) > bulkMax {
		return g.invalid(c, "recipients must have 1 to 10000 items")
	}
	b := &batch{recipients: make([]recipient, 0, len(in.Recipients))}
	if rep, ok := g.check(c, &in.bulkCommon, b); !ok {
		return rep
	}
	taken, parts := 0, 0
	for _, to := range in.Recipients {
		if to.To == nil {
			return g.invalid(c, "recipients: to is required")
		}
		r := in.recipient(g, c, to)
		if r.refused == refusedUnnamed {
			return g.invalid(c, "The request was not valid")
		}
		if r.refused == "" {
			taken++
			parts += segments(r.text)
		}
		b.recipients = append(b.recipients, r)
	}
	if c.faults.moods[faultBalance] {
		return g.broke(c, parts)
	}
	var id string
	if sandbox {
		g.sim.ledger.sandbox(c.entry)
		id = uuid("sandbox", g.sim.seed, c.entry.seq)
	} else {
		g.take(c, b)
		id = g.batchID(b)
	}
	return g.ok(c, map[string]any{"data": struct {
		BatchID  string `json:"batch_id"`
		Accepted int    `json:"accepted"`
		Rejected int    `json:"rejected"`
		Cost     int    `json:"cost_estimate"`
		Currency string `json:"currency"`
	}{id, taken, len(b.recipients) - taken, bulkCost * parts, "GBP"}})
}

// sandboxSend answers as the sandbox section shows, for both sets of field
// names that the document uses.
func (g *bulkSMSRates) sandboxSend(c *call) reply {
	var in map[string]any
	if json.Unmarshal(c.body, &in) != nil {
		return g.invalid(c, "not valid JSON")
	}
	to, ok := in["to"].(string)
	if !ok {
		to, _ = in["destination"].(string)
	}
	if _, ok := digits(to); !ok || to[0] != '+' {
		return g.errorReply(c, http.StatusBadRequest, "INVALID_PHONE_NUMBER", "Destination is not a valid E.164 number", nil)
	}
	g.sim.ledger.sandbox(c.entry)
	id := "sandbox-msg-" + uuid("sandbox", g.sim.seed, c.entry.seq)[:8]
	return g.ok(c, map[string]any{"id": id, "status": "delivered", "sandbox": true})
}

func (g *bulkSMSRates) balance(c *call) reply {
	money := bulkBalance
	if c.faults.moods[faultBalance] {
		money = 0
	}
	return g.ok(c, map[string]any{"data": map[string]any{
		"balance": money, "credit_limit": 0, "available": money, "currency": "GBP",
		"low_balance_threshold": 500, "auto_topup_enabled": false,
	}})
}

func (g *bulkSMSRates) failure(c *call, status int) reply {
	switch status {
	case http.StatusTooManyRequests:
		return g.errorReply(c, status, "RATE_LIMITED", "Too many requests", nil)
	case http.StatusInternalServerError:
		return g.errorReply(c, status, "INTERNAL_ERROR", "Unexpected server error", nil)
	case http.StatusServiceUnavailable:
		return g.errorReply(c, status, "SERVICE_UNAVAILABLE", "Upstream gateway temporarily unavailable", nil)
	}
	return reply{}
}

func (g *bulkSMSRates) id(m message) string { return uuid(BulkSMSRates, g.sim.seed, m.n()) }

func (g *bulkSMSRates) batchID(b *batch) string {
	if b.id != "" {
		return b.id
	}
	return uuid("bulksmsrates-batch", g.sim.seed, b.index)
}

func (g *bulkSMSRates) forget() {
	g.shelf.clear()
	g.reports.forget()
	g.campaigns.forget()
	g.out.forget()
}
