package simulator

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
)

// inboundSender plays handsets that write to an SMSBox two-way number.
type inboundSender struct {
	sim    *Simulator
	client *http.Client
	count  atomic.Uint64
}

// inboundRequest is the body of POST /_sim/inbound.
type inboundRequest struct {
	From          string `json:"from"`
	To            string `json:"to"`
	Text          string `json:"text"`
	TransactionID string `json:"transaction_id,omitempty"` // empty: a new one
}

// inboundResult is its answer.
type inboundResult struct {
	TransactionID string `json:"transaction_id"`
	Status        int    `json:"status"` // what the receiver answered; 0: nothing
	OK            bool   `json:"ok"`     // the answer is the documented one
	Problem       string `json:"problem,omitempty"`
}

// serve sends one inbound message and tells whether it was answered as the
// document demands: 200 if so, else 502.
func (s *inboundSender) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	var in inboundRequest
	if err == nil {
		err = strictJSON(body, &in)
	}
	url := s.sim.opts.Callbacks[SMSBoxInbound]
	if err == nil && url == "" {
		err = fmt.Errorf("no callback URL for %s", SMSBoxInbound)
	}
	if err != nil {
		writeProblem(w, err)
		return
	}
	if in.TransactionID == "" {
		in.TransactionID = strings.ReplaceAll(uuid("mo", s.sim.seed, s.count.Add(1)), "-", "")[:14]
	}
	res := s.send(r, in, url)
	status := http.StatusOK
	if !res.OK {
		status = http.StatusBadGateway
	}
	writeJSON(w, status, res)
}

func (s *inboundSender) send(r *http.Request, in inboundRequest, url string) inboundResult {
	type media struct {
		MediaURL string `json:"mediaUrl"`
	}
	type text struct {
		Text   string   `json:"text"`
		Media  media    `json:"media"`
		Custom struct{} `json:"custom"`
	}
	body, err := json.Marshal(struct {
		From          string            `json:"from"`
		To            string            `json:"to"`
		Channel       string            `json:"channel"`
		TimeUTC       string            `json:"timeUTC"`
		TransactionID string            `json:"transaction_id"`
		Message       text              `json:"message"`
		Billing       map[string]string `json:"billing"`
	}{
		From: strings.TrimPrefix(in.From, "+"), To: strings.TrimPrefix(in.To, "+"), Channel: "sms",
		TimeUTC: s.sim.opts.Now().UTC().Format(http.TimeFormat), TransactionID: in.TransactionID,
		Message: text{Text: in.Text},
		Billing: map[string]string{"currency": "TZS", "subscriber_price": "100.00", "billing_price": "100.00"},
	})
	if err != nil {
		return inboundResult{TransactionID: in.TransactionID, Problem: err.Error()}
	}
	d := jsonDelivery(url, body)
	d.header.Set("api-key", s.sim.credential(SMSBox, "api_key")) // "you can validate the API Key on each callback request"
	status, answer, err := s.sim.reports.send(r.Context(), &d, 64<<10)
	res := inboundResult{TransactionID: in.TransactionID, Status: status}
	if err != nil {
		res.Problem = "no answer"
		return res
	}
	var got struct {
		TransactionID string `json:"transaction_id"`
		Successful    bool   `json:"successful"`
	}
	switch {
	case status != http.StatusOK:
		res.Problem = "status is not 200"
	case json.Unmarshal(answer, &got) != nil:
		res.Problem = "answer is not JSON"
	case got.TransactionID != in.TransactionID || !got.Successful:
		res.Problem = `answer is not {"transaction_id": …, "successful": true}`
	default:
		res.OK = true
	}
	return res
}
