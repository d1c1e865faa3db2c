package simulator

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

// bulkCampaigns are named campaigns, and what was done to batches while they were
// sent. The document's state machine names draft, pending_approval, rejected and
// cancelled; the states in between are ours.
type bulkCampaigns struct {
	mu    sync.Mutex
	count uint64
	list  []*bulkCampaign
	held  map[*batch]*bulkHold
}

type bulkCampaign struct {
	id, name, status string // status until it is submitted, or if it was rejected
	created          time.Duration
	in               bulkCommon
	to               []bulkTo
	approved         time.Duration // when its approval is due
	refused          bool          // it is not going to be approved
	b                *batch        // once submitted
}

// bulkHold is a batch's own clock, which stands still while it is paused.
type bulkHold struct {
	paused, canceled bool
	at               time.Duration // since when
	lost             time.Duration // how long it was paused in all
}

// clock is the time that a batch lives in.
func (k *bulkCampaigns) clock(b *batch, now time.Duration) (at time.Duration, canceled bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.clockLocked(b, now)
}

func (k *bulkCampaigns) clockLocked(b *batch, now time.Duration) (at time.Duration, canceled bool) {
	h := k.held[b]
	switch {
	case h == nil:
		return now, false
	case h.paused || h.canceled:
		return h.at - h.lost, h.canceled
	}
	return now - h.lost, false
}

// wait is how much longer a report has to wait because its batch is paused.
func (g *bulkSMSRates) wait(m message) time.Duration {
	at, canceled := g.campaigns.clock(m.b, g.sim.since())
	if canceled || m.r().due <= at {
		return 0
	}
	return max(m.r().due-at, 10*time.Millisecond)
}

// campaign serves /campaigns and what is below it.
func (g *bulkSMSRates) campaign(c *call, path string) reply {
	id, action, _ := strings.Cut(path, "/")
	switch {
	case c.req.Method == http.MethodPost && id == "":
		return g.createCampaign(c)
	case c.req.Method == http.MethodGet && id == "":
		return g.listCampaigns(c)
	case c.req.Method == http.MethodGet && action == "":
		return g.showCampaign(c, id)
	case c.req.Method != http.MethodPost:
		return g.notFound(c)
	}
	switch action {
	case "recipients", "submit":
		k := g.campaigns.find(id)
		if k == nil {
			return g.notFound(c)
		}
		if action == "submit" {
			return g.submitCampaign(c, k)
		}
		return g.uploadRecipients(c, k)
	case "pause", "resume", "cancel":
		return g.steer(c, id, action)
	}
	return g.notFound(c)
}

func (k *bulkCampaigns) find(id string) *bulkCampaign {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, x := range k.list {
		if x.id == id {
			return x
		}
	}
	return nil
}

func (g *bulkSMSRates) createCampaign(c *call) reply {
	var in struct {
		Name      string  `json:"name"`
		From      *string `json:"from"`
		Body      *string `json:"body"`
		Scheduled *string `json:"schedule_at"` // sic
	}
	if err := strictJSON(c.body, &in); err != nil {
		return g.invalid(c, fieldOf(err))
	}
	if in.Name == "" {
		return g.invalid(c, "name is required")
	}
	k := &bulkCampaign{name: in.Name, status: "draft", created: c.at, in: bulkCommon{From: in.From, Body: in.Body, Scheduled: in.Scheduled}}
	if rep, ok := g.check(c, &k.in, &batch{}); !ok {
		return rep
	}
	g.campaigns.mu.Lock()
	defer g.campaigns.mu.Unlock()
	g.campaigns.count++
	k.id = uuid("bulksmsrates-campaign", g.sim.seed, g.campaigns.count)
	g.campaigns.list = append(g.campaigns.list, k)
	return g.ok(c, map[string]any{"data": g.campaignView(k)})
}

func (g *bulkSMSRates) uploadRecipients(c *call, k *bulkCampaign) reply {
	var in struct {
		Recipients []bulkTo `json:"recipients"`
	}
	if err := strictJSON(c.body, &in); err != nil {
		return g.invalid(c, fieldOf(err))
	}
	for _, to := range in.Recipients {
		if to.To == nil {
			return g.invalid(c, "recipients: to is required")
		}
	}
	g.campaigns.mu.Lock()
	defer g.campaigns.mu.Unlock()
	if k.status != "draft" {
		return g.conflict(c)
	}
	if len(in.Recipients) == 0 || len(k.to)+len(in.Recipients) > bulkMax {
		return g.invalid(c, "recipients must have 1 to 10000 items")
	}
	k.to = append(k.to, in.Recipients...)
	return g.ok(c, map[string]any{"data": map[string]int{"added": len(in.Recipients), "total": len(k.to)}})
}

// submitCampaign hands a campaign over for an approval, which comes after
// Options.ReportDelay, unless one of its numbers ends in 9990018.
func (g *bulkSMSRates) submitCampaign(c *call, k *bulkCampaign) reply {
	b := &batch{id: k.id}
	g.campaigns.mu.Lock()
	if k.status != "draft" || len(k.to) == 0 {
		g.campaigns.mu.Unlock()
		return g.conflict(c)
	}
	k.status, k.approved = "pending_approval", c.at+max(g.sim.opts.ReportDelay, 0)
	for _, to := range k.to {
		r := k.in.recipient(g, c, to)
		k.refused = k.refused || magic(r.number).then == thenRejected
		b.recipients = append(b.recipients, r)
	}
	refused := k.refused
	g.campaigns.mu.Unlock()
	if rep, ok := g.check(c, &k.in, b); !ok {
		return rep
	}
	if b.sendAt = max(b.sendAt, k.approved); !refused {
		g.take(c, b)
		g.campaigns.mu.Lock()
		k.b = b
		g.campaigns.mu.Unlock()
		last := message{b, 0}
		for i := range b.recipients {
			if b.recipients[i].due > last.r().due {
				last.i = i
			}
		}
		g.tellAfter(last, max(last.r().due, b.sendAt)+time.Millisecond, "campaign.completed", map[string]any{"campaign_id": k.id, "name": k.name})
	}
	g.campaigns.mu.Lock()
	defer g.campaigns.mu.Unlock()
	return g.ok(c, map[string]any{"data": g.campaignView(k)})
}

// steer pauses, resumes or cancels a campaign or a bulk send, as far as that is
// possible: not what is over, and not what was not submitted.
func (g *bulkSMSRates) steer(c *call, id, action string) reply {
	k, b, found := g.campaignOf(id)
	if !found {
		return g.notFound(c)
	}
	g.campaigns.mu.Lock()
	defer g.campaigns.mu.Unlock()
	if b == nil {
		if action != "cancel" || k.status == "cancelled" || k.refused {
			return g.conflict(c)
		}
		k.status = "cancelled"
		return g.ok(c, map[string]any{"data": g.campaignView(k)})
	}
	if g.campaigns.held == nil {
		g.campaigns.held = map[*batch]*bulkHold{}
	}
	h := g.campaigns.held[b]
	if h == nil {
		h = &bulkHold{}
	}
	over := g.batchStatus(b, c.at) == "completed"
	switch {
	case over || h.canceled || h.paused == (action == "pause") && action != "cancel":
		return g.conflict(c)
	case action == "pause":
		h.paused, h.at = true, c.at
	case action == "resume":
		h.paused, h.lost = false, h.lost+c.at-h.at
	case h.paused:
		h.paused, h.canceled = false, true // its clock stands already
	default:
		h.canceled, h.at = true, c.at
	}
	g.campaigns.held[b] = h
	return g.ok(c, map[string]any{"data": map[string]string{"id": id, "status": g.batchStatus(b, c.at)}})
}

// campaignOf finds a named campaign, or a batch of /sms/bulk.
func (g *bulkSMSRates) campaignOf(id string) (k *bulkCampaign, b *batch, found bool) {
	if k = g.campaigns.find(id); k != nil {
		g.campaigns.mu.Lock()
		defer g.campaigns.mu.Unlock()
		return k, k.b, true
	}
	index, ok := number("bulksmsrates-batch", g.sim.seed, id)
	if b, found = g.shelf.batch(index); !ok || !found || b.channel != "" {
		return nil, nil, false
	}
	return nil, b, true
}

// batchStatus is a batch's state. Callers hold campaigns.mu.
func (g *bulkSMSRates) batchStatus(b *batch, now time.Duration) string {
	if h := g.campaigns.held[b]; h != nil && h.canceled {
		return "cancelled"
	} else if h != nil && h.paused {
		return "paused"
	}
	at, _ := g.campaigns.clockLocked(b, now)
	status := "completed"
	for i := range b.recipients {
		if m := (message{b, i}); b.recipients[i].refused == "" && m.phase(at) != final {
			status = "sending"
		}
	}
	if status == "sending" && at < b.sendAt {
		status = "scheduled"
	}
	return status
}

// campaignView shows a campaign without its counts. Callers hold campaigns.mu.
func (g *bulkSMSRates) campaignView(k *bulkCampaign) map[string]any {
	status, now := k.status, g.sim.since()
	switch {
	case k.status == "cancelled" || k.status == "draft":
	case now < k.approved:
		status = "pending_approval"
	case k.refused:
		status = "rejected"
	case k.b != nil:
		status = g.batchStatus(k.b, now)
	}
	return map[string]any{"id": k.id, "name": k.name, "status": status, "created_at": g.sim.wall(k.created).Format(time.RFC3339)}
}

func (g *bulkSMSRates) listCampaigns(c *call) reply {
	g.campaigns.mu.Lock()
	defer g.campaigns.mu.Unlock()
	var list []map[string]any
	for _, k := range g.campaigns.list {
		list = append(list, g.campaignView(k))
	}
	return g.ok(c, onePage(g, c, list))
}

// showCampaign serves GET /campaigns/{id}, for batches of /sms/bulk, too.
func (g *bulkSMSRates) showCampaign(c *call, id string) reply {
	k, b, found := g.campaignOf(id)
	if !found {
		return g.notFound(c)
	}
	view := map[string]any{"id": id}
	if k != nil {
		g.campaigns.mu.Lock()
		view = g.campaignView(k)
		view["total"] = len(k.to)
		g.campaigns.mu.Unlock()
	}
	if b == nil {
		return g.ok(c, map[string]any{"data": view})
	}
	counts := map[string]int{}
	for i := range b.recipients {
		if b.recipients[i].refused != "" {
			counts["rejected"]++
			continue
		}
		counts[g.word(message{b, i})]++
	}
	if k == nil {
		g.campaigns.mu.Lock()
		view["status"] = g.batchStatus(b, c.at)
		g.campaigns.mu.Unlock()
		view["client_ref"], view["created_at"] = b.ref, g.sim.wall(b.at).Format(time.RFC3339)
	}
	view["total"] = len(b.recipients)
	for _, name := range []string{"rejected", "queued", "sent", "delivered", "failed", "expired"} {
		view[name] = counts[name]
	}
	return g.ok(c, map[string]any{"data": view})
}

func (g *bulkSMSRates) conflict(c *call) reply {
	return g.errorReply(c, http.StatusConflict, "CONFLICT", "Duplicate resource or state conflict", nil)
}

func (k *bulkCampaigns) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list, k.held = nil, nil
}
