package simulator

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// digitalServices plays the Digital Services Center bulk SMS API.
type digitalServices struct {
	sim   *Simulator
	shelf shelf
}

const (
	dscMax  = 500 // ours: the document names no limit
	dscCost = 75  // "75 RWF per message"
)

func dscError(status int, message string) reply {
	return jsonReply(status, map[string]string{"status": "error", "message": message}).because(message)
}

func (g *digitalServices) answer(c *call) reply {
	switch {
	case c.op != "/sms/send":
		return dscError(http.StatusNotFound, "Not found")
	case c.req.Method != http.MethodPost:
		return dscError(http.StatusMethodNotAllowed, "Method not allowed")
	}
	form := url.Values{}
	if contentType(c.req) == "application/x-www-form-urlencoded" { // other bodies have no parameters, as PHP sees them
		var err error
		if form, err = url.ParseQuery(string(c.body)); err != nil {
			return dscError(http.StatusBadRequest, "Malformed form body")
		}
	}
	if rep, bad := g.check(c, form); bad {
		return rep
	}
	numbers, invalid := dscNumbers(form.Get("recipients"))
	switch {
	case len(invalid) > 0:
		return dscError(http.StatusBadRequest, "Invalid phone numbers: "+strings.Join(invalid, ", ")).because("Invalid phone numbers")
	case len(numbers) > dscMax:
		return dscError(http.StatusBadRequest, "Too many recipients")
	case c.faults.moods[faultQuota]:
		return dscError(http.StatusTooManyRequests, "Daily SMS limit reached for testing mode")
	}
	b := &batch{}
	for _, n := range numbers {
		b.recipients = append(b.recipients, recipient{number: n, from: form.Get("sender"), text: form.Get("message"),
			callback: form.Get("dlrurl"), refused: c.refusal(n)})
	}
	c.accept(&g.shelf, b)
	return g.results(c, b)
}

// check judges the parameters, credentials first.
func (g *digitalServices) check(c *call, form url.Values) (reply, bool) {
	known := []string{"api_key", "username", "password", "recipients", "message", "sender", "dlrurl"}
	for _, name := range known[:5] {
		if form.Get(name) == "" {
			return dscError(http.StatusBadRequest, "Missing required parameter: "+name), true
		}
	}
	for _, name := range known[:3] {
		if form.Get(name) != g.sim.credential(DigitalServices, name) {
			return dscError(http.StatusUnauthorized, "Invalid API key or credentials"), true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(form)) {
		if !slices.Contains(known, name) || len(form[name]) > 1 {
			return dscError(http.StatusBadRequest, "Unknown or repeated parameter: "+name), true
		}
	}
	if c.req.URL.RawQuery != "" {
		return dscError(http.StatusBadRequest, "Parameters belong into the body"), true
	}
	if u := form.Get("dlrurl"); u != "" && !webURL(u) {
		return dscError(http.StatusBadRequest, "Invalid dlrurl"), true
	}
	return reply{}, false
}

// dscNumbers reads "international format without the leading +: 250XXXXXXXXX".
func dscNumbers(list string) (numbers []uint64, invalid []string) {
	for _, p := range strings.Split(list, ",") {
		n, ok := digits(p)
		if !ok || len(p) != 12 || !strings.HasPrefix(p, "250") || magic(n).refuse == refusedInvalid {
			invalid = append(invalid, p)
			continue
		}
		numbers = append(numbers, n)
	}
	return numbers, invalid
}

func (g *digitalServices) results(c *call, b *batch) reply {
	type result struct {
		Status    string `json:"status"`
		MessageID string `json:"messageid"`
		Recipient string `json:"recipient"`
		Message   string `json:"message"`
		Cost      int    `json:"cost"`
	}
	out := make([]result, 0, len(b.recipients))
	for _, i := range c.order(len(b.recipients)) {
		m := message{b, i}
		r := m.r()
		status := "sent"
		if r.refused != "" {
			status = "failed" // with an id and a cost, as in the example
		}
		out = append(out, result{status, g.id(m), plain(r.number), r.text, dscCost})
	}
	return jsonReply(http.StatusOK, struct {
		Status        string   `json:"status"`
		TotalMessages int      `json:"totalmessages"`
		TotalCost     int      `json:"totalcost"`
		Unit          string   `json:"unit"`
		Response      []result `json:"response"`
	}{"success", len(out), dscCost * len(out), "RWF", out})
}

func (g *digitalServices) failure(_ *call, status int) reply {
	switch status {
	case http.StatusTooManyRequests:
		return dscError(status, "Too many requests")
	case http.StatusInternalServerError:
		return dscError(status, "Failed to send SMS via external gateway")
	}
	return reply{}
}

func (g *digitalServices) callback(m message) string { return m.r().callback }

// report substitutes the placeholders of the documented URL format. A URL
// without any gets the documented parameters appended.
func (g *digitalServices) report(m message, w word, raw string) delivery {
	status := "D"
	switch w {
	case undelivered, expired:
		status = "U"
	case unheardOf:
		status = "X"
	}
	number, id := plain(m.r().number), g.id(m)
	filled := strings.NewReplacer("$dnis$", number, "$messageID$", id, "$status$", status).Replace(raw)
	if filled == raw {
		sep := "?"
		if strings.Contains(raw, "?") {
			sep = "&"
		}
		filled += sep + "dnis=" + number +
			"&username=" + url.QueryEscape(g.sim.credential(DigitalServices, "dlr_username")) +
			"&password=" + url.QueryEscape(g.sim.credential(DigitalServices, "dlr_password")) +
			"&command=deliver&dlvrMsgId=" + id + "&dlvrMsgStat=" + status
	}
	return delivery{method: http.MethodGet, url: filled}
}

func (g *digitalServices) retries() []time.Duration { return usualRetries() }

func (g *digitalServices) gaveUp(string) {}

// id has nine digits, as in the examples. A simulator starts 20 ids further for
// each second of the clock, so that the next one does not give the same.
func (g *digitalServices) id(m message) string {
	const low, span = 100_000_000, 900_000_000
	return strconv.FormatUint(low+(uint64(g.sim.start.Unix())*20+m.n())%span, 10)
}

func (g *digitalServices) batchID(*batch) string { return "" }

func (g *digitalServices) forget() { g.shelf.clear() }
