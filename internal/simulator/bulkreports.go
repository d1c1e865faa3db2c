package simulator

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Look-ups of BulkSMSRates: single messages, the message log, batches.

// bulkReports caches the message log for 10 s and the statistics for 60 s, as
// the document says: a look-up right after sending may not see the message.
type bulkReports struct {
	mu    sync.Mutex
	cache map[string]cachedReply
}

type cachedReply struct {
	at  time.Duration
	rep reply
}

func (r *bulkReports) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cache = nil
}

// bulkView is how look-ups show a message. The document names no fields but
// message_id and status; the others are those of its webhook.
type bulkView struct {
	MessageID   string  `json:"message_id"`
	Destination string  `json:"destination"`
	From        string  `json:"from"`
	Status      string  `json:"status"`
	ClientRef   string  `json:"client_ref,omitempty"`
	CampaignID  string  `json:"campaign_id"`
	Segments    int     `json:"segments"`
	CreatedAt   string  `json:"created_at"`
	DeliveredAt *string `json:"delivered_at"`
}

func (g *bulkSMSRates) view(m message) bulkView {
	r := m.r()
	v := bulkView{MessageID: g.id(m), Destination: e164(r.number), From: r.from, Status: g.word(m), CampaignID: g.batchID(m.b),
		Segments: segments(r.text), CreatedAt: g.sim.wall(m.b.at).Format(time.RFC3339)}
	if !m.b.noRef {
		v.ClientRef = m.b.ref
	}
	if v.Status == "delivered" {
		at := g.sim.wall(r.due).Format(time.RFC3339)
		v.DeliveredAt = &at
	}
	return v
}

// word is the log's status: queued, sent, delivered, failed, expired.
func (g *bulkSMSRates) word(m message) string {
	at, canceled := g.campaigns.clock(m.b, g.sim.since())
	phase := m.phase(at)
	if canceled && phase != final {
		return "failed"
	}
	switch phase {
	case scheduled, pending:
		return "queued"
	case sent:
		return "sent"
	}
	switch m.outcome() {
	case undelivered:
		return "failed"
	case expired:
		return "expired"
	case unheardOf:
		return "sent"
	}
	return "delivered"
}

// status serves GET /sms/{id}.
func (g *bulkSMSRates) status(c *call, id string) reply {
	n, ok := number(BulkSMSRates, g.sim.seed, id)
	m, found := g.shelf.find(n)
	if !ok || !found || m.b.channel != "" {
		return g.notFound(c)
	}
	type event struct {
		Event string `json:"event"`
		At    string `json:"created_at"`
	}
	v := g.view(m)
	events := []event{{"message.queued", v.CreatedAt}}
	if v.Status != "queued" && v.Status != "sent" {
		events = append(events, event{"message." + v.Status, g.sim.wall(m.r().due).Format(time.RFC3339)})
	}
	return g.ok(c, map[string]any{"data": struct {
		bulkView
		Events []event `json:"events"`
	}{v, events}})
}

// cachedReport serves GET /reports/…; only answers that are well are cached.
func (g *bulkSMSRates) cachedReport(c *call, name string) reply {
	keep, serve := 10*time.Second, g.list
	switch name {
	case "messages":
	case "dlr-stats":
		keep, serve = time.Minute, g.stats
	default:
		return g.notFound(c)
	}
	g.reports.mu.Lock()
	defer g.reports.mu.Unlock()
	key := name + "?" + c.req.URL.RawQuery
	if hit, ok := g.reports.cache[key]; ok && c.at-hit.at < keep {
		return g.decorate(c, hit.rep)
	}
	rep := serve(c)
	if g.reports.cache == nil || len(g.reports.cache) > 1000 {
		g.reports.cache = map[string]cachedReply{}
	}
	if rep.status == http.StatusOK {
		g.reports.cache[key] = cachedReply{c.at, reply{status: rep.status, body: rep.body}}
	}
	return rep
}

func (g *bulkSMSRates) stats(c *call) reply {
	counts := map[string]int{"sent": 0, "delivered": 0, "failed": 0}
	for _, b := range g.shelf.all() {
		for i := range b.recipients {
			if b.recipients[i].refused == "" {
				counts["sent"]++
				counts[g.word(message{b, i})]++
			}
		}
	}
	return g.ok(c, map[string]any{"data": map[string]int{"sent": counts["sent"], "delivered": counts["delivered"], "failed": counts["failed"]}})
}

// bulkFilter is a query of the message log.
type bulkFilter struct {
	status, destination, campaign string
	from, to                      time.Time
	size                          int
	before                        uint64 // the cursor: ids below it only
}

func (g *bulkSMSRates) filter(c *call) (f bulkFilter, problem string) {
	q := c.req.URL.Query()
	f = bulkFilter{status: q.Get("status"), destination: q.Get("destination"), campaign: q.Get("campaign_id"), size: 50, before: 1 << 62}
	for name := range q {
		if !slices.Contains([]string{"status", "from_date", "to_date", "destination", "campaign_id", "page_size", "cursor"}, name) {
			return f, "unknown parameter " + name
		}
	}
	if f.status != "" && !slices.Contains([]string{"queued", "sent", "delivered", "failed", "expired"}, f.status) {
		return f, "status"
	}
	if _, ok := digits(f.destination); f.destination != "" && (!ok || f.destination[0] != '+') {
		return f, "destination must be E.164"
	}
	var err error
	if s := q.Get("from_date"); s != "" {
		if f.from, err = time.Parse(time.RFC3339, s); err != nil {
			return f, "from_date"
		}
	}
	if s := q.Get("to_date"); s != "" {
		if f.to, err = time.Parse(time.RFC3339, s); err != nil {
			return f, "to_date"
		}
	}
	if s := q.Get("page_size"); s != "" {
		if f.size, err = strconv.Atoi(s); err != nil || f.size < 1 || f.size > 500 {
			return f, "page_size must be 1 to 500"
		}
	}
	if s := q.Get("cursor"); s != "" {
		var at struct {
			ID string `json:"id"`
		}
		raw, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || json.Unmarshal(raw, &at) != nil {
			return f, "cursor"
		}
		n, ok := number(BulkSMSRates, g.sim.seed, at.ID)
		if !ok {
			return f, "cursor"
		}
		f.before = n
	}
	return f, ""
}

func (f *bulkFilter) matches(g *bulkSMSRates, m message, created time.Time) bool {
	return m.r().refused == "" && m.b.channel == "" &&
		(f.destination == "" || f.destination == e164(m.r().number)) &&
		(f.from.IsZero() || !created.Before(f.from)) && (f.to.IsZero() || !created.After(f.to)) &&
		(f.campaign == "" || f.campaign == g.batchID(m.b)) &&
		(f.status == "" || f.status == g.word(m))
}

// list serves GET /sms and GET /reports/messages: the newest first.
func (g *bulkSMSRates) list(c *call) reply {
	f, problem := g.filter(c)
	if problem != "" {
		return g.invalid(c, problem)
	}
	page, total, more := []bulkView{}, 0, false
	batches := g.shelf.all()
	slices.Reverse(batches)
	for _, b := range batches {
		created := g.sim.wall(b.at)
		for i := len(b.recipients) - 1; i >= 0; i-- {
			m := message{b, i}
			if !f.matches(g, m, created) {
				continue
			}
			total++
			if m.n() >= f.before {
				continue
			}
			if len(page) == f.size {
				more = true
				continue
			}
			page = append(page, g.view(m))
		}
	}
	var cursor *string
	if more {
		raw, _ := json.Marshal(map[string]string{"id": page[len(page)-1].MessageID})
		s := base64.RawURLEncoding.EncodeToString(raw)
		cursor = &s
	}
	return g.ok(c, map[string]any{
		"data":       page,
		"pagination": map[string]any{"total": total, "page_size": f.size, "has_more": more, "cursor": cursor},
		"meta":       map[string]string{"request_id": g.requestID(c)},
	})
}
