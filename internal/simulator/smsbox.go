package simulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// smsBox plays the SMSBox SMS API.
type smsBox struct {
	sim   *Simulator
	shelf shelf
	names smsBoxNames

	mu      sync.Mutex
	waiting map[string]*smsBoxPlan // requests that were scheduled, by id
}

const (
	smsBoxMax        = 1000       // error 114
	smsBoxInactive   = "INACTIVE" // a well-formed sender id that is not registered
	smsBoxBalance    = 1_000_000
	smsBoxNameMarker = "[{RECEIVERNAME}]"
)

func newSMSBox(s *Simulator) *smsBox {
	return &smsBox{sim: s, waiting: map[string]*smsBoxPlan{}}
}

// smsBoxWords are the texts of the error table, in its own words.
func smsBoxWords(code int) string {
	switch code {
	case 101:
		return "Invalid phone number"
	case 102:
		return "Insufficient balance"
	case 103:
		return "Network timeout"
	case 104:
		return "Please provide all required parameters"
	case 107:
		return "No authorization headers"
	case 108:
		return "Invalid token"
	case 109:
		return "Invalid Message"
	case 110:
		return "Message contains special characters"
	case 111:
		return "Invalid Sender Id"
	case 112:
		return "The message cannot be scheduled for a date/time in the past"
	case 113:
		return "Invalid request format"
	case 114:
		return "Recipients exceed the Limit of 1000"
	case 115:
		return "Destination Number is Missing"
	case 117:
		return "Invalid Scheduled Time"
	case 118:
		return "Missing encoding type"
	case 119:
		return "Missing recipient(s) tag"
	case 120:
		return "Invalid Authentication Parameters"
	}
	return "Error"
}

func smsBoxError(status, code int) reply {
	return jsonReply(status, struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{code, smsBoxWords(code)}).because(strconv.Itoa(code))
}

// smsBoxOK is the documented success; data is left out when nil.
func smsBoxOK(code int, message string, data any) reply {
	return jsonReply(http.StatusOK, struct {
		Status  bool   `json:"status"`
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}{true, code, message, data})
}

func (g *smsBox) answer(c *call) reply {
	rep, ok := g.authorize(c)
	if ok {
		rep = g.route(c)
	}
	if c.faults.moods[faultErrorIn200] && rep.status/100 == 4 {
		var e struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		}
		if json.Unmarshal(rep.body, &e) == nil && e.Code != 0 {
			rep = smsBoxOK(e.Code, e.Message, nil).because(rep.reason)
		}
	}
	if c.faults.moods[faultSloppyJSON] && len(rep.body) > 0 && rep.body[len(rep.body)-1] == '}' {
		rep.body = append(rep.body[:len(rep.body)-1:len(rep.body)-1], ",\n  }"...) // the trailing comma of the samples
	}
	return rep
}

func (g *smsBox) route(c *call) reply {
	method := http.MethodGet
	if c.op == "/send_sms" || c.op == "/request_sender_name" {
		method = http.MethodPost
	}
	serve := map[string]func(*call) reply{
		"/send_sms": g.send, "/query_sms_balance": g.balance, "/change_sms_info": g.change,
		"/query_sender_names": g.names.list, "/request_sender_name": g.names.request,
	}[c.op]
	if serve == nil {
		return reply{status: http.StatusNotFound, reason: "not found"}
	}
	if c.req.Method != method {
		return reply{status: http.StatusMethodNotAllowed, reason: "method"}
	}
	return serve(c)
}

// authorize takes the api-key and api-secret headers of the tables, the Basic
// authorization of the scripts, or both; what is there must be right.
func (g *smsBox) authorize(c *call) (reply, bool) {
	h := c.req.Header
	key, secret := g.sim.credential(SMSBox, "api_key"), g.sim.credential(SMSBox, "api_secret")
	own := h.Get("api-key") != "" || h.Get("api-secret") != ""
	if !own && h.Get("Authorization") == "" {
		if c.op == "/change_sms_info" {
			return jsonReply(http.StatusBadRequest, map[string]string{"error": smsBoxWords(107)}).because("107"), false
		}
		return smsBoxError(http.StatusBadRequest, 107), false
	}
	if own && (h.Get("api-key") != key || h.Get("api-secret") != secret) {
		return smsBoxError(http.StatusUnauthorized, 120), false
	}
	if h.Get("Authorization") == "" {
		return reply{}, true
	}
	user, password, ok := c.req.BasicAuth()
	if !ok {
		return smsBoxError(http.StatusUnauthorized, 108), false
	}
	if user != key || password != secret {
		return smsBoxError(http.StatusUnauthorized, 120), false
	}
	return reply{}, true
}

func (g *smsBox) send(c *call) reply {
	req, code := smsBoxParse(c)
	if code == 0 {
		code = req.check()
	}
	if code != 0 {
		return smsBoxError(http.StatusBadRequest, code)
	}
	b := &batch{}
	if req.ScheduleTime != "" {
		var code int
		if b.sendAt, code = g.due(c, req.ScheduleTime); code != 0 {
			return smsBoxError(http.StatusBadRequest, code)
		}
	}
	for _, to := range req.Recipients {
		if code := b.addSMSBox(req, to); code != 0 {
			return smsBoxError(http.StatusBadRequest, code)
		}
	}
	if c.faults.moods[faultBalance] {
		return smsBoxError(http.StatusBadRequest, 102)
	}
	id := uuid(SMSBox, g.sim.seed, c.entry.seq)
	b.id = "sms-" + g.sim.wall(c.at).Format("20060102150405") + strings.ReplaceAll(id, "-", "")[12:]
	c.accept(&g.shelf, b)
	if req.ScheduleTime != "" {
		g.wait(b, req)
	}
	return smsBoxOK(http.StatusOK, "Message Scheduled Successfully", "message_id:"+b.id)
}

func (g *smsBox) balance(c *call) reply {
	money := smsBoxBalance
	if c.faults.moods[faultBalance] {
		money = 0
	}
	return smsBoxOK(http.StatusOK, "Operation processed successfully", []map[string]int{{"balance_money": money}})
}

func (g *smsBox) failure(_ *call, status int) reply {
	switch status {
	case http.StatusTooManyRequests:
		return jsonReply(status, map[string]any{"code": status, "message": "Too many requests"})
	case http.StatusInternalServerError, http.StatusGatewayTimeout:
		return smsBoxError(status, 103)
	}
	return reply{}
}

func (g *smsBox) callback(message) string { return g.sim.opts.Callbacks[SMSBox] }

func (g *smsBox) report(m message, w word, url string) delivery {
	status := "DELIVERED"
	switch w {
	case undelivered:
		status = "UNDELIVERED"
	case expired:
		status = "EXPIRED"
	case unheardOf:
		status = "PARKED"
	}
	body, _ := json.Marshal(map[string]string{"message_id": m.b.id, "dest_addr": e164(m.r().number), "status": status})
	return jsonDelivery(url, body)
}

func (g *smsBox) retries() []time.Duration { return usualRetries() }

func (g *smsBox) gaveUp(string) {}

func (g *smsBox) id(m message) string { return m.b.id }

func (g *smsBox) batchID(b *batch) string { return b.id }

func (g *smsBox) forget() {
	g.shelf.clear()
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.waiting)
}
