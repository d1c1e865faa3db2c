package simulator

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// smsBoxPlan is a request that was scheduled, as it would be sent now.
type smsBoxPlan struct {
	b         *batch
	names     []string // of the recipients, to fill a new text with
	suspended bool
}

// due reads a schedule_time: "GMT+0 timezone. Format (yyyy-mm-dd hh:mm)".
func (g *smsBox) due(c *call, s string) (at time.Duration, code int) {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		return 0, 117
	}
	if at = t.Sub(g.sim.start); at < c.at {
		return 0, 112
	}
	return at, 0
}

// wait keeps what change_sms_info may change.
func (g *smsBox) wait(b *batch, req smsBoxRequest) {
	plan := &smsBoxPlan{b: b}
	for _, to := range req.Recipients {
		name, _ := smsBoxToName(to)
		plan.names = append(plan.names, name)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting[b.id] = plan
}

// change answers change_sms_info, a GET that changes what is not sent yet. Of an
// id that is not known, or was sent, the document has one answer: not found. What
// a command leaves out stays as it is; an empty schedule_time is "immediately".
func (g *smsBox) change(c *call) reply {
	q := c.req.URL.Query()
	id := q.Get("message_id")
	for name, values := range q {
		if len(values) > 1 || !slices.Contains([]string{"message_id", "scheduled_status", "schedule_time", "source_addr", "message"}, name) {
			return smsBoxError(http.StatusBadRequest, 113)
		}
	}
	if id == "" || len(q) == 1 {
		return smsBoxError(http.StatusBadRequest, 104)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	plan := g.waiting[id]
	if plan == nil || !plan.suspended && plan.b.sendAt <= c.at {
		return smsBoxOK(http.StatusForbidden, "Message "+id+" not found", nil).because("403")
	}
	changed := *plan.b
	changed.recipients = slices.Clone(changed.recipients)
	next := smsBoxPlan{b: &changed, names: plan.names, suspended: plan.suspended}
	if code := g.command(c, &next); code != 0 {
		return smsBoxError(http.StatusBadRequest, code)
	}
	*plan = next
	g.sim.ledger.shows(c.entry, plan.b)
	g.sim.reports.drop(id)
	if !plan.suspended {
		g.replan(c, plan.b)
	}
	return smsBoxOK(http.StatusOK, "Message "+id+" Updated Successfully!", "message_id:"+id)
}

// command applies what the query says to a copy of the plan.
func (g *smsBox) command(c *call, plan *smsBoxPlan) (code int) {
	q, b := c.req.URL.Query(), plan.b
	switch q.Get("scheduled_status") {
	case "0":
		plan.suspended = true
	case "1":
		plan.suspended = false
	case "":
	default:
		return 104
	}
	if q.Has("schedule_time") {
		b.sendAt = c.at
		if s := q.Get("schedule_time"); s != "" {
			if b.sendAt, code = g.due(c, s); code != 0 {
				return code
			}
		}
	}
	if from := q.Get("source_addr"); from != "" {
		if !smsBoxSender(from) {
			return 111
		}
		for i := range b.recipients {
			b.recipients[i].from = from
		}
	}
	if text := q.Get("message"); text != "" {
		if _, plain := gsm7(text); !plain {
			return 110
		}
		for i := range b.recipients {
			b.recipients[i].text = strings.ReplaceAll(text, smsBoxNameMarker, plan.names[i])
		}
	}
	return 0
}

// replan has the reports on b sent after its new time.
func (g *smsBox) replan(c *call, b *batch) {
	b.sendAt = max(b.sendAt, c.at)
	for i := range b.recipients {
		m := message{b, i}
		r := m.r()
		r.due = b.sendAt + g.sim.faults.spread(g.sim.opts.ReportDelay)
		if !r.silent && !r.lost && g.callback(m) != "" {
			c.plan(m, plan{word: r.word})
		}
	}
}
