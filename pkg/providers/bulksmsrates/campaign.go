package bulksmsrates

import (
	"context"
	"net/url"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// findCampaign asks how far a batch is, and reads its log if that is not enough:
// progress names nobody, so it tells something only where all are alike.
func (p *provider) findCampaign(ctx context.Context, q *providers.Query, s spot, start func() error) (providers.Found, error) {
	resp, err := p.ask(ctx, "/campaigns/"+url.PathEscape(s.Campaign), nil, start)
	if err != nil {
		return providers.Found{}, err
	}
	s.Step = stepLog
	onwards := providers.Found{Done: true, Cursor: s.String()}
	top, err := read(resp.Body)
	if err != nil || resp.Status/100 != 2 {
		return onwards, nil
	}
	status, all := alike(top.within("data").within("campaign").within("progress").within("stats").within("counts"), q.Size)
	if !all {
		return onwards, nil
	}
	found := providers.Found{Done: final(status.means)}
	for i := range q.Messages {
		m := &q.Messages[i]
		found.Reports = append(found.Reports, providers.Report{
			BatchID: q.BatchID, MessageID: m.ID, ProviderID: s.Campaign, To: m.To, Status: status.means, Code: status.word,
		})
	}
	return found, nil
}

type state struct {
	word  string
	means providers.ReportStatus
}

// alike reports what all messages of a batch have in common, by counts that add up
// to its size: that all are delivered, or that all were taken and none is done.
// Where sent counts what was ever sent, as it might, the sum is too large and
// nothing is told but "delivered". The fields are not documented.
func alike(f fields, size int) (s state, ok bool) {
	if size < 1 || f.count("total", "total_recipients", "recipients", "recipient_count") != size {
		return s, false
	}
	n := func(names ...string) int { return max(f.count(names...), 0) }
	delivered := n("delivered")
	bad := n("failed") + n("expired") + n("rejected", "invalid")
	switch waiting := n("queued", "pending") + n("sent"); {
	case bad > 0:
		return s, false
	case delivered == size:
		return state{"delivered", providers.ReportDelivered}, true
	case delivered == 0 && waiting == size:
		return state{"sent", providers.ReportPending}, true
	}
	return s, false
}
