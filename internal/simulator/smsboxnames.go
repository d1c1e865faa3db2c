package simulator

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// smsBoxNames is the list of sender names of SMSBox's portal. Requested names
// stay pending; send_sms does not ask this list (see smsBoxSender).
type smsBoxNames struct {
	mu    sync.Mutex
	names []smsBoxName
}

type smsBoxName struct {
	ID      string `json:"id"`
	Name    string `json:"sending_name"`
	Status  string `json:"status"`
	Created string `json:"created"`
}

func (s *smsBoxNames) list(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, status := c.req.URL.Query().Get("q"), c.req.URL.Query().Get("status")
	out := []smsBoxName{}
	all := append([]smsBoxName{{"1", "INFO", "approved", "2025-03-18 17:25:29"}}, s.names...)
	for _, n := range all {
		if strings.Contains(n.Name, q) && (status == "" || status == n.Status) {
			out = append(out, n)
		}
	}
	return smsBoxOK(http.StatusOK, "Message Scheduled Successfully", out) // sic
}

// request answers request_sender_name, whose errors are wrapped in "data".
func (s *smsBoxNames) request(c *call) reply {
	var in struct {
		SenderID string `json:"senderid"`
		Sample   string `json:"sample_content"`
	}
	if contentType(c.req) != "application/json" || strictJSON(c.body, &in) != nil {
		return smsBoxError(http.StatusBadRequest, 113)
	}
	conflict := func(code int, message string) reply {
		return jsonReply(http.StatusConflict, map[string]any{"data": map[string]any{"code": code, "message": message}}).because(strconv.Itoa(code))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case in.SenderID == "" || len(in.Sample) < 15:
		return smsBoxError(http.StatusBadRequest, 104)
	case len(in.SenderID) > 11 || !smsBoxSender(in.SenderID):
		return conflict(121, "Sender Name Should Not Exceed 11 Characters and can have only numbers, letters and the following special characters . - and space")
	case len(in.Sample) > 170:
		return conflict(124, "Sender Name sample content should not exceed 170 characters")
	}
	for _, n := range s.names {
		if n.Name == in.SenderID {
			return conflict(122, "Senderid exist, please try another one")
		}
	}
	id := strconv.Itoa(len(s.names) + 2)
	s.names = append(s.names, smsBoxName{id, in.SenderID, "pending", c.sim.wall(c.at).Format(time.DateTime)})
	return smsBoxOK(http.StatusOK, "SenderID "+id+" created Successfully", "[]")
}
