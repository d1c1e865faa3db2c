package simulator

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// cloudRebue plays the CloudRebue bulk SMS API.
type cloudRebue struct {
	sim   *Simulator
	shelf shelf
}

const cloudRebueMax = 100 // "a maximum of 100 concurrent messages can be sent on a single JSON request body"

// cloudItem is one message of a request, alone or in an array.
type cloudItem struct {
	Sender      *string         `json:"sender"`
	Message     *string         `json:"message"`
	Phone       *string         `json:"phone"`
	Correlator  json.RawMessage `json:"correlator"` // "string" in the table, a number in the examples
	LinkID      *string         `json:"link_id"`
	Endpoint    *string         `json:"endpoint"`
	problem     string
	first, many int // its recipients in the batch
}

func cloudError(status int, message string) reply {
	return jsonReply(status, map[string]any{"status": false, "message": message}).because(message)
}

func (g *cloudRebue) answer(c *call) reply {
	switch {
	case c.op != "/send-sms":
		return cloudError(http.StatusNotFound, "Not found.")
	case c.req.Method != http.MethodPost:
		return cloudError(http.StatusMethodNotAllowed, "Method not allowed.")
	case c.req.Header.Get("Authorization") != "Bearer "+g.sim.credential(CloudRebue, "token"):
		return cloudError(http.StatusUnauthorized, "Unauthenticated.")
	case contentType(c.req) != "application/json":
		return cloudError(http.StatusUnsupportedMediaType, "Content-type must be application/json.")
	case !strings.Contains(c.req.Header.Get("Accept"), "application/json"):
		return cloudError(http.StatusNotAcceptable, "Accept must be application/json.")
	}
	single := !bytes.HasPrefix(bytes.TrimSpace(c.body), []byte("["))
	raw := []json.RawMessage{c.body}
	if !single {
		if err := json.Unmarshal(c.body, &raw); err != nil {
			return cloudError(http.StatusUnprocessableEntity, "The body is not valid JSON.")
		}
	} else if !json.Valid(c.body) {
		return cloudError(http.StatusUnprocessableEntity, "The body is not valid JSON.")
	}
	if len(raw) == 0 || len(raw) > cloudRebueMax {
		return cloudError(http.StatusUnprocessableEntity, "A request carries 1 to 100 messages.")
	}
	b := &batch{oneID: single}
	items := g.take(c, b, raw, single)
	c.accept(&g.shelf, b)
	out := make([]any, 0, len(items))
	for _, i := range c.order(len(items)) {
		out = append(out, g.result(b, &items[i], single))
	}
	return jsonReply(http.StatusOK, out)
}

// take reads the items into b, each one for itself.
func (g *cloudRebue) take(c *call, b *batch, raw []json.RawMessage, single bool) []cloudItem {
	var senders, endpoints intern
	items := make([]cloudItem, len(raw))
	for i, doc := range raw {
		it := &items[i]
		it.first = len(b.recipients)
		var numbers []uint64
		if it.problem = it.check(doc); it.problem == "" {
			numbers, it.problem = cloudPhones(*it.Phone, single)
		}
		if it.problem != "" {
			b.recipients = append(b.recipients, recipient{refused: it.problem})
			it.many = 1
			continue
		}
		for _, n := range numbers {
			r := recipient{number: n, from: senders.get(*it.Sender), text: *it.Message, ref: string(it.Correlator), refused: c.refusal(n)}
			if it.Endpoint != nil {
				r.callback = endpoints.get(*it.Endpoint)
			}
			if r.refused != "" {
				it.problem = cloudProblem(r.refused)
			}
			b.recipients = append(b.recipients, r)
		}
		it.many = len(numbers)
		if it.problem != "" { // one answer for all its numbers: all are refused
			for k := it.first; k < len(b.recipients); k++ {
				b.recipients[k].refused = it.problem
			}
		}
	}
	return items
}

func (it *cloudItem) check(doc []byte) string {
	if err := strictJSON(doc, it); err != nil {
		return "The message is invalid: " + fieldOf(err)
	}
	switch {
	case it.Sender == nil || *it.Sender == "":
		return "The sender field is required."
	case it.Message == nil || *it.Message == "":
		return "The message field is required."
	case it.Phone == nil || *it.Phone == "":
		return "The phone field is required."
	case len(it.Correlator) > 0 && !strings.ContainsRune(`"0123456789-n`, rune(it.Correlator[0])):
		return "The correlator must be a string."
	case it.Endpoint != nil && !webURL(*it.Endpoint):
		return "The endpoint must be a URL."
	}
	if string(it.Correlator) == "null" {
		it.Correlator = nil
	}
	return ""
}

// cloudPhones reads "country code with 12 characters", "07/01 with 10 characters
// for Kenya or 7/1 with 9"; a single message may name several, with commas.
func cloudPhones(list string, single bool) ([]uint64, string) {
	const invalid = "The phone number is invalid."
	phones := strings.Split(list, ",")
	if len(phones) > 1 && !single {
		return nil, invalid
	}
	numbers := make([]uint64, 0, len(phones))
	for _, p := range phones {
		switch {
		case len(p) == 10 && (strings.HasPrefix(p, "07") || strings.HasPrefix(p, "01")):
			p = "254" + p[1:]
		case len(p) == 9 && (p[0] == '7' || p[0] == '1'):
			p = "254" + p
		}
		n, ok := digits(p)
		if !ok || len(p) != 12 || p[0] == '+' {
			return nil, invalid
		}
		numbers = append(numbers, n)
	}
	return numbers, ""
}

func cloudProblem(refused string) string {
	switch refused {
	case refusedInvalid:
		return "The phone number is invalid."
	case refusedOptOut, refusedBlacklist:
		return "The phone number is blacklisted."
	}
	return "Message could not be queued."
}

type cloudData struct {
	Correlator json.RawMessage `json:"correlator,omitempty"`
	UniqueID   string          `json:"uniqueId,omitempty"`
	ClientID   string          `json:"client_id,omitempty"`
	Phone      string          `json:"phone"`
	Operator   string          `json:"operator,omitempty"`
	SMSUnits   int             `json:"sms_units,omitempty"`
	ShortCode  string          `json:"short_code,omitempty"`
	Message    string          `json:"message,omitempty"`
	LinkID     json.RawMessage `json:"link_id,omitempty"`
	EndPoint   json.RawMessage `json:"end_point,omitempty"`
	BatchID    string          `json:"batch_id,omitempty"`
	CreatedAt  string          `json:"created_at,omitempty"`
}

// result is the answer for one item: a single message is told more, and its
// correlator comes back as a string, as in the examples.
func (g *cloudRebue) result(b *batch, it *cloudItem, single bool) any {
	type result struct {
		Status  bool      `json:"status"`
		Message string    `json:"message"`
		Data    cloudData `json:"data"`
	}
	phones := make([]string, it.many)
	for k := range phones {
		phones[k] = plain(b.recipients[it.first+k].number)
	}
	data := cloudData{Correlator: it.Correlator, Phone: strings.Join(phones, ",")}
	if it.problem != "" {
		data.Phone = ""
		if it.Phone != nil {
			data.Phone = *it.Phone
		}
		return result{Message: it.problem, Data: data}
	}
	data.UniqueID = g.id(message{b, it.first})
	data.SMSUnits = segments(*it.Message)
	if single {
		if len(data.Correlator) > 0 && data.Correlator[0] != '"' {
			data.Correlator = json.RawMessage(`"` + string(data.Correlator) + `"`)
		}
		data.ClientID, data.Operator, data.ShortCode, data.Message = "1", "safaricom", *it.Sender, *it.Message
		data.LinkID, _ = json.Marshal(it.LinkID)
		data.EndPoint, _ = json.Marshal(it.Endpoint)
		data.BatchID = g.batchID(b)
		data.CreatedAt = g.sim.wall(b.at).Format(time.DateTime)
	}
	return result{Status: true, Message: "Message successfully queued!", Data: data}
}

func (g *cloudRebue) failure(_ *call, status int) reply {
	if status == http.StatusTooManyRequests {
		return cloudError(status, "Too Many Attempts.")
	}
	return reply{}
}

func (g *cloudRebue) callback(m message) string { return m.r().callback }

func (g *cloudRebue) report(m message, w word, url string) delivery {
	status := "DeliveredToTerminal"
	switch w { // only the one above is documented
	case undelivered, expired:
		status = "DeliveryImpossible"
	case unheardOf:
		status = "DeliveryNotificationNotSupported"
	}
	body, _ := json.Marshal(struct {
		Phone          string          `json:"phone"`
		Correlator     json.RawMessage `json:"correlator,omitempty"`
		UniqueID       string          `json:"uniqueId"`
		DeliveryStatus string          `json:"deliveryStatus"`
		DeliveryTime   string          `json:"deliveryTime"`
	}{plain(m.r().number), json.RawMessage(m.r().ref), g.id(m), status, g.sim.wall(g.sim.since()).Format(time.DateTime)})
	return jsonDelivery(url, body)
}

func (g *cloudRebue) retries() []time.Duration { return usualRetries() }

func (g *cloudRebue) gaveUp(string) {}

func (g *cloudRebue) id(m message) string {
	if m.b.oneID {
		return uuid(CloudRebue, g.sim.seed, m.b.first)
	}
	return uuid(CloudRebue, g.sim.seed, m.n())
}

func (g *cloudRebue) batchID(b *batch) string { return uuid("cloudrebue-batch", g.sim.seed, b.index) }

func (g *cloudRebue) forget() { g.shelf.clear() }
