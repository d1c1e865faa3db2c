package simulator

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// smsScheduler plays the SMS Scheduler API. It sends no callbacks: statuses are
// asked for.
type smsScheduler struct {
	sim   *Simulator
	shelf shelf
	first uint64 // what ids count from: the start's milliseconds, so that the next simulator gives others

	mu      sync.Mutex
	deleted map[uint64]bool // by number of the sms id
}

const (
	schedulerMax      = 500 // ours: the document names no limit
	schedulerNoSender = 999 // a sender id that is on nobody's "Senders" page
)

func newSMSScheduler(s *Simulator) *smsScheduler {
	return &smsScheduler{sim: s, first: uint64(s.start.UnixMilli()), deleted: map[uint64]bool{}}
}

// schedulerErrors collects the errors by field, as a 400 shows them.
type schedulerErrors map[string][]string

func (e schedulerErrors) add(field, text string) { e[field] = append(e[field], text) }

func (e schedulerErrors) typed(field, typ string) {
	e.add(field, `The field "`+field+`" must be a value of type "`+typ+`"`)
}

func (g *smsScheduler) answer(c *call) reply {
	if scheme, token, _ := strings.Cut(c.req.Header.Get("Authorization"), " "); !strings.EqualFold(scheme, "bearer") ||
		token != g.sim.credential(SMSScheduler, "token") {
		return reply{status: http.StatusUnauthorized, reason: "Unauthorized"}
	}
	kind, id, _ := strings.Cut(strings.TrimPrefix(c.op, "/"), "/")
	switch {
	case kind == "sms" && id == "" && c.req.Method == http.MethodPost:
		return g.create(c)
	case kind == "sms" && id != "":
		return g.sms(c, id)
	case kind == "message" && id != "":
		return g.message(c, id)
	}
	return reply{status: http.StatusNotFound, reason: "Not Found"}
}

func (g *smsScheduler) create(c *call) reply {
	if contentType(c.req) != "application/json" {
		return reply{status: http.StatusUnsupportedMediaType, reason: "Content-Type"}
	}
	var fields map[string]json.RawMessage
	errs := schedulerErrors{}
	if json.Unmarshal(c.body, &fields) != nil {
		errs.add("body", "The body must be a JSON object")
		return jsonReply(http.StatusBadRequest, map[string]any{"errors": errs}).because("not JSON")
	}
	b := g.read(c, fields, errs)
	if len(errs) > 0 {
		return jsonReply(http.StatusBadRequest, map[string]any{"errors": errs}).because("errors")
	}
	c.accept(&g.shelf, b)
	ids := make(map[string][]uint64, len(b.recipients))
	for _, i := range c.order(len(b.recipients)) {
		m := message{b, i}
		for p := range b.parts {
			to := e164(m.r().number)
			ids[to] = append(ids[to], g.first+m.n()+uint64(p))
		}
	}
	return jsonReply(http.StatusOK, map[string]any{"message_id": g.first + b.index, "sms_ids": ids})
}

// read judges the fields of POST /sms and makes the batch of them.
func (g *smsScheduler) read(c *call, fields map[string]json.RawMessage, errs schedulerErrors) *batch {
	var in struct {
		text, date string
		stop       bool
		sender     int64
		numbers    []string
	}
	read := func(name, typ string, required bool, into any) {
		raw, ok := fields[name]
		delete(fields, name)
		switch {
		case !ok && required:
			errs.add(name, `The field "`+name+`" is required`)
		case ok && (json.Unmarshal(raw, into) != nil || bytes.Equal(raw, []byte("null"))):
			errs.typed(name, typ)
		}
	}
	if raw := fields["phone_numbers"]; len(raw) > 0 && raw[0] == '"' {
		fields["phone_numbers"] = json.RawMessage("[" + string(raw) + "]") // "a String for a single number"
	}
	read("message_text", "string", true, &in.text)
	read("message_stop", "boolean", false, &in.stop)
	read("delivery_date", "string", true, &in.date)
	read("sender_id", "integer", true, &in.sender)
	if raw, ok := fields["phone_numbers"]; ok && json.Unmarshal(raw, &in.numbers) != nil {
		delete(fields, "phone_numbers")
		errs.add("phone_numbers", `The field "phone_numbers" must be a list of type "string"`)
	} else {
		read("phone_numbers", "string", true, &in.numbers)
	}
	for name := range fields {
		errs.add(name, `The field "`+name+`" is unknown`)
	}
	if len(errs) > 0 {
		return nil
	}
	date, err := time.Parse(time.DateTime, in.date)
	if err != nil {
		errs.add("delivery_date", `The field "delivery_date" must be a date of format "Y-m-d H:i:s"`)
	}
	if in.text == "" {
		errs.add("message_text", `The field "message_text" must not be empty`)
	}
	if in.sender <= 0 || in.sender == schedulerNoSender {
		errs.add("sender_id", `The field "sender_id" is not one of your senders`)
	}
	if len(in.numbers) == 0 || len(in.numbers) > schedulerMax {
		errs.add("phone_numbers", "The list must have 1 to "+strconv.Itoa(schedulerMax)+" phone numbers")
	}
	if in.stop {
		in.text += "\nSTOP"
	}
	b := &batch{parts: segments(in.text), sendAt: date.Sub(g.sim.start)}
	for _, s := range in.numbers {
		n, ok := schedulerNumber(s)
		if !ok || magic(n).refuse == refusedInvalid {
			errs.add("phone_numbers", "The following phone number is invalid: "+s)
		}
		b.recipients = append(b.recipients, recipient{number: n, from: strconv.FormatInt(in.sender, 10), text: in.text, word: g.fate(c, n)})
	}
	return b
}

// fate is what the gateway makes of a recipient that it took all the same.
func (g *smsScheduler) fate(c *call, number uint64) word {
	if c.faults.moods[faultBalance] {
		return noCredits
	}
	switch c.refusal(number) {
	case refusedOptOut, refusedBlacklist:
		return blocked
	case refusedGateway, refusedUnnamed:
		return gatewayError
	}
	return delivered
}

// schedulerNumber reads "country prefix and without spaces or hyphens", and,
// since the example has them, French national numbers and a trunk zero.
func schedulerNumber(s string) (uint64, bool) {
	s = strings.NewReplacer("-", "", " ", "", ".", "").Replace(s)
	switch {
	case len(s) == 10 && s[0] == '0':
		s = "+33" + s[1:]
	case strings.HasPrefix(s, "+330"):
		s = "+33" + s[4:]
	case strings.HasPrefix(s, "+490"):
		s = "+49" + s[4:]
	}
	if !strings.HasPrefix(s, "+") || s[1:] == "" || s[1] == '1' && len(s) != 12 {
		return 0, false
	}
	return digits(s)
}

// sms serves /sms/{id}.
func (g *smsScheduler) sms(c *call, id string) reply {
	n, err := strconv.ParseUint(id, 10, 64)
	m, ok := g.shelf.find(n - g.first)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil || n < g.first || !ok || g.deleted[n-g.first] {
		return reply{status: http.StatusNotFound, reason: "Not Found"}
	}
	switch c.req.Method {
	case http.MethodGet:
		return jsonReply(http.StatusOK, map[string]any{"phone_number": e164(m.r().number), "status": g.status(m)})
	case http.MethodDelete:
		return jsonReply(http.StatusOK, map[string]bool{"success": g.cancel(m, n-g.first)})
	}
	return reply{status: http.StatusMethodNotAllowed, reason: "Method Not Allowed"}
}

// message serves /message/{id}.
func (g *smsScheduler) message(c *call, id string) reply {
	n, err := strconv.ParseUint(id, 10, 64)
	b, ok := g.shelf.batch(n - g.first)
	if err != nil || n < g.first || !ok {
		return reply{status: http.StatusNotFound, reason: "Not Found"}
	}
	type line struct {
		ID     uint64 `json:"id"`
		Number string `json:"phone_number"`
		Status int    `json:"status"`
	}
	lines, canceled := []line{}, 0
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range b.recipients {
		for p := range b.parts {
			m := message{b, i}
			k := m.n() + uint64(p)
			if g.deleted[k] {
				continue
			}
			if c.req.Method == http.MethodDelete && g.cancel(m, k) {
				canceled++
			}
			lines = append(lines, line{g.first + k, e164(m.r().number), g.status(m)})
		}
	}
	switch {
	case c.req.Method == http.MethodDelete:
		return jsonReply(http.StatusOK, map[string]int{"success": canceled})
	case c.req.Method != http.MethodGet:
		return reply{status: http.StatusMethodNotAllowed, reason: "Method Not Allowed"}
	case len(lines) == 0:
		return reply{status: http.StatusNotFound, reason: "Not Found"}
	}
	return jsonReply(http.StatusOK, lines)
}

// cancel deletes what has not been sent yet. The caller holds the lock.
func (g *smsScheduler) cancel(m message, n uint64) bool {
	if m.phase(g.sim.since()) >= sent {
		return false
	}
	g.deleted[n] = true
	return true
}

// status is the documented code of one message.
func (g *smsScheduler) status(m message) int {
	switch m.r().word {
	case noCredits:
		return 25
	case blocked:
		return 26
	case gatewayError:
		return 29
	}
	switch m.phase(g.sim.since()) {
	case scheduled:
		return 10
	case pending:
		return 11
	case sent:
		return 12
	}
	switch m.outcome() {
	case undelivered:
		return 38 // Missed - Sending failed (Unknown reason)
	case expired:
		return 32 // Missed - End of validity period
	case unheardOf:
		return 14
	}
	return 13
}

func (g *smsScheduler) failure(_ *call, status int) reply {
	if status == http.StatusTooManyRequests {
		return jsonReply(status, map[string]any{"errors": map[string][]string{"request": {"Too many requests"}}})
	}
	return reply{}
}

func (g *smsScheduler) callback(message) string { return "" }

func (g *smsScheduler) report(message, word, string) delivery { return delivery{} }

func (g *smsScheduler) retries() []time.Duration { return nil }

func (g *smsScheduler) gaveUp(string) {}

func (g *smsScheduler) id(m message) string { return strconv.FormatUint(g.first+m.n(), 10) }

func (g *smsScheduler) batchID(b *batch) string { return strconv.FormatUint(g.first+b.index, 10) }

func (g *smsScheduler) forget() {
	g.shelf.clear()
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.deleted)
}
