package simulator

import (
	"net/http"
	"slices"
	"sync"
)

// bulkSenders are the account's sender ids. All may send: approval is not
// simulated, only listed.
type bulkSenders struct {
	mu   sync.Mutex
	list []bulkSenderID
}

type bulkSenderID struct {
	SenderID string `json:"sender_id"`
	Status   string `json:"status"`
}

func (s *bulkSenders) answer(g *bulkSMSRates, c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.req.Method == http.MethodGet {
		return g.ok(c, onePage(g, c, s.list))
	}
	var in struct {
		SenderID string `json:"sender_id"`
	}
	if err := strictJSON(c.body, &in); err != nil {
		return g.invalid(c, fieldOf(err))
	}
	if !bulkSender(in.SenderID) {
		return g.errorReply(c, http.StatusBadRequest, "INVALID_SENDER_ID", "Sender ID not approved or too long", nil)
	}
	if slices.ContainsFunc(s.list, func(x bulkSenderID) bool { return x.SenderID == in.SenderID }) {
		return g.conflict(c)
	}
	s.list = append(s.list, bulkSenderID{in.SenderID, "pending"})
	return g.ok(c, map[string]any{"data": s.list[len(s.list)-1]})
}
