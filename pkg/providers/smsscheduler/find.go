package smsscheduler

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// Finds implements providers.Finder: without an id of the gateway's there is
// nothing to ask with.
func (p *provider) Finds(q *providers.Query) bool { return page(q) < len(q.ProviderIDs) }

// page is the place of the id that is asked for: an answer names one, and one only.
func page(q *providers.Query) int {
	n, err := strconv.Atoi(q.Cursor)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// Find implements providers.Finder by GET /message/{id}: one request for all the
// numbers of a batch. It returns one report for each number, in the order in which
// the answer names them first.
func (p *provider) Find(ctx context.Context, q *providers.Query, start func() error) (providers.Found, error) {
	if !p.Finds(q) || !validID(q.ProviderIDs[page(q)]) {
		return providers.Found{}, &providers.Error{Class: providers.Rejected, Detail: "not an id of this gateway"}
	}
	id := q.ProviderIDs[page(q)]
	resp, err := p.http.Do(ctx, httpapi.Request{Method: http.MethodGet, Path: "/message/" + id, Header: p.header, ContentType: jsonType, Start: start})
	if err != nil {
		return providers.Found{}, err
	}
	if resp.Status == http.StatusNotFound {
		return providers.Found{}, unknown(resp.Status)
	}
	list, err := readList(resp.Body)
	if resp.Status/100 != 2 || err != nil {
		return providers.Found{}, p.failure(resp, 1)
	}
	var found providers.Found
	found.Reports, found.Done = fold(id, list)
	if next := page(q) + 1; next < len(q.ProviderIDs) {
		found.Cursor = strconv.Itoa(next)
	}
	return found, nil
}

// sms is one of the parts or copies that the gateway made for a number.
type sms struct {
	ID     httpapi.Scalar `json:"id"`
	Number httpapi.Scalar `json:"phone_number"`
	Status httpapi.Scalar `json:"status"`
}

// readList reads an array of sms, or one that stands alone. All of it must be
// readable: a part that were left out would have no say in what becomes of a number.
func readList(body []byte) ([]sms, error) {
	raw, array, err := httpapi.Objects(body)
	if err != nil {
		return nil, err
	}
	list := make([]sms, len(raw))
	for i, r := range raw {
		if err := json.Unmarshal(r, &list[i]); err != nil {
			return nil, err
		}
	}
	if !array && list[0].Status == "" {
		return nil, httpapi.ErrUnreadable
	}
	return list, nil
}

// fold makes one report of all that is said of a number: undelivered if any
// part is, delivered if all are. done is true when every part has a final
// status, so that nothing can change any more.
func fold(providerID string, list []sms) (reports []providers.Report, done bool) {
	place := map[string]int{}
	done = len(list) > 0
	for _, s := range list {
		r := report(providerID, s)
		done = done && (r.Status == providers.ReportDelivered || r.Status == providers.ReportUndelivered)
		if r.To == "" {
			continue // whose it is cannot be told
		}
		i, seen := place[r.To]
		switch {
		case !seen:
			place[r.To] = len(reports)
			reports = append(reports, r)
		case weight[r.Status] > weight[reports[i].Status]:
			reports[i] = r
		}
	}
	return reports, done
}

// weight orders what parts of one number say: the heaviest speaks for it.
var weight = map[providers.ReportStatus]int{
	providers.ReportDelivered:   0,
	providers.ReportPending:     1,
	providers.ReportUnknown:     2,
	providers.ReportUndelivered: 3,
}

func report(providerID string, s sms) providers.Report {
	r := providers.Report{ProviderID: providerID, To: httpapi.E164(string(s.Number)), Code: httpapi.Word(string(s.Status))}
	if code, err := strconv.Atoi(r.Code); err == nil {
		row := states[code]
		r.Status, r.Detail, r.OptOut = row.status, row.words, row.optOut
	}
	return r
}
