package simulator

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// bulkEvents are what webhooks tell beside delivery reports. Their payloads are
// ours: the document shows none.
var bulkEvents = []string{"opt_out", "campaign.completed", "campaign.failed", "balance.low", "whatsapp.message"}

// bulkOut are the numbers that opted out. They are the account's contacts.
type bulkOut struct {
	mu      sync.Mutex
	numbers []uint64
}

// add reports whether number had not opted out before.
func (o *bulkOut) add(number uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if slices.Contains(o.numbers, number) {
		return false
	}
	o.numbers = append(o.numbers, number)
	return true
}

func (o *bulkOut) has(number uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Contains(o.numbers, number)
}

func (o *bulkOut) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.numbers = nil
}

// contacts serves GET /contacts, on one page.
func (o *bulkOut) contacts(g *bulkSMSRates, c *call) reply {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := []map[string]any{}
	for i, n := range o.numbers {
		list = append(list, map[string]any{"id": uuid("contact", g.sim.seed, uint64(i)), "phone": e164(n), "name": "", "opted_out": true})
	}
	return g.ok(c, onePage(g, c, list))
}

func onePage[T any](g *bulkSMSRates, c *call, list []T) map[string]any {
	return map[string]any{
		"data":       append([]T{}, list...),
		"pagination": map[string]any{"total": len(list), "page_size": 50, "has_more": false, "cursor": nil},
		"meta":       map[string]string{"request_id": g.requestID(c)},
	}
}

// signed builds a webhook.
func (g *bulkSMSRates) signed(url, id, event string, data any) delivery {
	now := g.sim.wall(g.sim.since())
	body, _ := json.Marshal(struct {
		ID        string `json:"id"`
		Event     string `json:"event"`
		CreatedAt string `json:"created_at"`
		Data      any    `json:"data"`
	}{id, event, now.Format(time.RFC3339), data})
	stamp := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(g.sim.credential(BulkSMSRates, "webhook_secret")))
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	out := jsonDelivery(url, body)
	out.header.Set("X-Webhook-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	out.header.Set("X-Webhook-Id", "wh_evt_"+id)
	out.header.Set("X-Webhook-Timestamp", stamp)
	return out
}

// tell sends an event at a time, to the first webhook that wants it. It reports
// whether there is one now.
func (g *bulkSMSRates) tell(at time.Duration, event string, data any) bool {
	return g.tellAfter(message{b: &batch{}}, at, event, data)
}

// tellAfter is tell for what waits for a message, as long as its batch is paused,
// and is not told if the batch is cancelled.
func (g *bulkSMSRates) tellAfter(m message, at time.Duration, event string, data any) bool {
	if g.hooks.active(event) == "" {
		return false
	}
	id := uuid("event", g.sim.seed, g.told.Add(1))
	g.sim.ledger.report(BulkSMSRates, func(rc *ReportCounts) { rc.Planned++ })
	g.sim.reports.add(&dueReport{at: at, typ: BulkSMSRates, m: m, event: func() *delivery {
		url := g.hooks.active(event)
		if _, canceled := g.campaigns.clock(m.b, g.sim.since()); url == "" || canceled {
			return nil
		}
		d := g.signed(url, id, event, data)
		return &d
	}})
	return true
}

// aftermath plans what magic numbers bring about beside their reports.
func (g *bulkSMSRates) aftermath(b *batch) {
	for i := range b.recipients {
		r := &b.recipients[i]
		if r.refused != "" {
			continue
		}
		switch magic(r.number).then {
		case thenOptOut:
			g.optOut(r.number, r.due)
		case thenLowBalance:
			g.tell(r.due, thenLowBalance, map[string]any{"balance": 400, "threshold": 500, "currency": "GBP"})
		case thenFailed:
			g.tell(r.due, thenFailed, map[string]any{"campaign_id": g.batchID(b), "reason": "Upstream gateway unavailable"})
		case thenAnswers:
			g.inbound(r.due, bulkInbound{From: e164(r.number), To: bulkWhatsAppNumber, Text: "Thanks"})
		}
	}
}

// optOut has a number reply STOP at a time: from now on it is refused.
func (g *bulkSMSRates) optOut(number uint64, at time.Duration) bool {
	g.out.add(number)
	return g.tell(at, "opt_out", map[string]any{"destination": e164(number), "keyword": "STOP"})
}

// bulkInbound is a WhatsApp message from a handset.
type bulkInbound struct {
	From string `json:"from"`
	To   string `json:"to"`
	Text string `json:"text"`
	ID   string `json:"id,omitempty"` // empty: a new one
}

func (g *bulkSMSRates) inbound(at time.Duration, in bulkInbound) bool {
	if in.ID == "" {
		in.ID = "wamid." + uuid("wamid", g.sim.seed, g.told.Add(1))
	}
	return g.tell(at, "whatsapp.message", map[string]any{
		"message_id": in.ID, "from": in.From, "to": in.To, "type": "text", "text": map[string]string{"body": in.Text},
		"timestamp": g.sim.wall(at).Format(time.RFC3339),
	})
}

// control serves POST /_sim/bulksmsrates/{what}: 202 if a webhook will be told, 409
// if nobody wants it.
func (g *bulkSMSRates) control(w http.ResponseWriter, r *http.Request) {
	var in struct {
		bulkInbound
		Number string         `json:"number"`
		Event  string         `json:"event"`
		Data   map[string]any `json:"data"`
	}
	if err := readControl(w, r, &in); err != nil {
		writeProblem(w, err)
		return
	}
	number, ok := digits(in.Number)
	now := g.sim.since()
	var told bool
	switch what := r.PathValue("what"); {
	case what == "opt-out" && ok:
		told = g.optOut(number, now)
	case what == "inbound" && in.From != "":
		if in.To == "" {
			in.To = bulkWhatsAppNumber
		}
		told = g.inbound(now, in.bulkInbound)
	case what == "event" && slices.Contains(bulkEvents, in.Event):
		told = g.tell(now, in.Event, in.Data)
	default:
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "want opt-out {number}, inbound {from, to, text} or event {event, data}"})
		return
	}
	status := http.StatusAccepted
	if !told {
		status = http.StatusConflict
	}
	writeJSON(w, status, map[string]bool{"told": told})
}
