package simulator

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// bulkHooks are the webhook endpoints of a BulkSMSRates account.
type bulkHooks struct {
	sim *Simulator

	mu    sync.Mutex
	last  int
	hooks []bulkHook
}

type bulkHook struct {
	ID        string   `json:"id"`
	URL       string   `json:"url"`
	Events    []string `json:"events"`
	Active    bool     `json:"active"` // false after an event that failed every attempt
	CreatedAt string   `json:"created_at"`
}

func (h *bulkHooks) add(url string, events []string) bulkHook {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	hook := bulkHook{ID: "wh_" + strconv.Itoa(h.last), URL: url, Events: events, Active: true,
		CreatedAt: h.sim.wall(h.sim.since()).Format(time.RFC3339)}
	h.hooks = append(h.hooks, hook)
	return hook
}

// active returns where an event goes: to the first endpoint that wants it.
func (h *bulkHooks) active(event string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, hook := range h.hooks {
		if hook.Active && slices.Contains(hook.Events, event) {
			return hook.URL
		}
	}
	return ""
}

func (h *bulkHooks) deactivate(url string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.hooks {
		if h.hooks[i].URL == url {
			h.hooks[i].Active = false
		}
	}
}

// answer serves /settings/webhooks and /settings/webhooks/{id}.
func (h *bulkHooks) answer(g *bulkSMSRates, c *call, id string) reply {
	var in struct {
		URL    *string  `json:"url"`
		Events []string `json:"events"`
		Active *bool    `json:"active"`
	}
	if c.req.Method == http.MethodPost || c.req.Method == http.MethodPatch {
		if err := strictJSON(c.body, &in); err != nil {
			return g.invalid(c, fieldOf(err))
		}
		if in.URL != nil && !webURL(*in.URL) {
			return g.invalid(c, "url")
		}
		for _, e := range in.Events {
			if e != "dlr" && !slices.Contains(bulkEvents, e) {
				return g.invalid(c, "events")
			}
		}
	}
	switch {
	case id == "" && c.req.Method == http.MethodGet:
		h.mu.Lock()
		defer h.mu.Unlock()
		return g.ok(c, map[string]any{"data": append([]bulkHook{}, h.hooks...)})
	case id == "" && c.req.Method == http.MethodPost:
		if in.URL == nil || len(in.Events) == 0 {
			return g.invalid(c, "url and events are required")
		}
		return g.ok(c, map[string]any{"data": struct {
			bulkHook
			Secret string `json:"secret"`
		}{h.add(*in.URL, in.Events), g.sim.credential(BulkSMSRates, "webhook_secret")}})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.hooks, func(x bulkHook) bool { return x.ID == id })
	if i < 0 {
		return g.notFound(c)
	}
	hook := &h.hooks[i]
	switch c.req.Method {
	case http.MethodPatch:
		if in.URL != nil {
			hook.URL = *in.URL
		}
		if len(in.Events) > 0 {
			hook.Events = in.Events
		}
		hook.Active = in.Active == nil || *in.Active // an update wakes it up, unless it says otherwise
		return g.ok(c, map[string]any{"data": *hook})
	case http.MethodDelete:
		h.hooks = slices.Delete(h.hooks, i, i+1)
		return g.ok(c, map[string]any{"data": map[string]bool{"deleted": true}})
	}
	return g.notFound(c)
}

func (g *bulkSMSRates) callback(message) string { return g.hooks.active("dlr") }

// retries: "Delays: 5s → 30s → 300s", read as three attempts after the first.
func (g *bulkSMSRates) retries() []time.Duration {
	return []time.Duration{5 * time.Second, 30 * time.Second, 300 * time.Second}
}

func (g *bulkSMSRates) gaveUp(url string) { g.hooks.deactivate(url) }

// report builds the signed webhook. Its id follows from the message and the
// word, so that a report sent twice is a true repetition.
func (g *bulkSMSRates) report(m message, w word, url string) delivery {
	type data struct {
		MessageID   string `json:"message_id"`
		Destination string `json:"destination"`
		Carrier     string `json:"carrier_status"`
		DeliveredAt string `json:"delivered_at,omitempty"`
		ClientRef   string `json:"client_ref,omitempty"`
	}
	now := g.sim.wall(g.sim.since())
	if at, canceled := g.campaigns.clock(m.b, g.sim.since()); canceled && m.phase(at) != final {
		w = undelivered
	}
	event, d := "message.delivered", data{MessageID: g.id(m), Destination: e164(m.r().number), Carrier: "DELIVRD"}
	switch w {
	case undelivered:
		event, d.Carrier = "message.failed", "UNDELIV"
	case expired:
		event, d.Carrier = "message.expired", "EXPIRED"
	case unheardOf:
		event, d.Carrier = "message.parked", "ACCEPTD"
	default:
		d.DeliveredAt = now.Format(time.RFC3339)
	}
	if !m.b.noRef {
		d.ClientRef = m.b.ref
	}
	id := uuid("webhook", g.sim.seed+uint64(w), m.n())
	return g.signed(url, id, event, d)
}
