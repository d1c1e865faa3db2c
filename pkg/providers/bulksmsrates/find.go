package bulksmsrates

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

const (
	logPath   = "/reports/messages"
	pageSize  = 500             // the most that a list gives
	logWithin = 8 << 20         // bytes of a page
	before    = 2 * time.Minute // the gateway's clock and ours
	after     = 10 * time.Minute
	probes    = 3 // messages of a batch without an id that are looked for one by one
)

// Finds implements providers.Finder: by the gateway's ids, or by the reference of
// ours that the log may echo.
func (p *provider) Finds(q *providers.Query) bool { return len(q.ProviderIDs) > 0 || q.BatchID != "" }

// Find implements providers.Finder. What it asks for depends on what is known:
//
//   - a message sent alone, by its id: GET /sms/{id};
//   - a batch, by its id: GET /campaigns/{id} where that saves pages, then the log
//     of that campaign;
//   - an attempt without an answer: the log of a few of its numbers around its
//     time, and once an entry echoes our reference, the log of that entry's campaign.
//
// Entries count only if they name the campaign or echo our reference: a filter
// that a gateway ignored would bring everybody's. Caches make entries late (10 s),
// so absence proves nothing, but for one case: a bulk answer told how many it took,
// and as many are found. Then the others were refused.
func (p *provider) Find(ctx context.Context, q *providers.Query, start func() error) (providers.Found, error) {
	s, ok := readSpot(q)
	if !ok {
		return providers.Found{}, &providers.Error{Class: providers.Rejected, Detail: "not a place where a look-up can go on"}
	}
	switch {
	case len(q.Messages) == 0 || q.Messages[0].Channel != "" && len(q.ProviderIDs) == 0:
		return providers.Found{Done: true}, nil // a WhatsApp message carries no reference to be found by
	case s.Step == stepOne:
		return p.findOne(ctx, q, start)
	case s.Step == stepCampaign:
		return p.findCampaign(ctx, q, s, start)
	case s.Step == stepProbe:
		return p.findProbe(ctx, q, s, start)
	}
	return p.findLog(ctx, q, s, start)
}

// entry is a message as look-ups show it. Its fields are not documented but for
// message_id and status; the others are those of the webhook and of the filters.
type entry struct {
	id, to, status, ref, campaign string
	detail, at                    string
}

func entryOf(f fields) entry {
	e := entry{
		id: f.id("message_id", "messageId", "id"), to: httpapi.E164(f.first("destination", "to")),
		status: httpapi.Word(f.first("status")), ref: f.id("client_ref", "clientRef"), campaign: f.id("campaign_id", "batch_id"),
		detail: httpapi.Trim(f.first("carrier_status", "error_code", "failure_reason")),
	}
	if e.at = httpapi.Word(f.first("delivered_at")); e.at == "" {
		e.at = httpapi.Word(f.first("updated_at"))
	}
	return e
}

func (e *entry) report(q *providers.Query, m *providers.Message) providers.Report {
	return providers.Report{
		BatchID: q.BatchID, MessageID: m.ID, ProviderID: e.id, To: e.to,
		Status: logged[strings.ToLower(e.status)], Code: e.status, Detail: e.detail, Time: e.at,
	}
}

func final(s providers.ReportStatus) bool {
	return s == providers.ReportDelivered || s == providers.ReportUndelivered
}

// ask makes one look-up.
func (p *provider) ask(ctx context.Context, path string, query url.Values, start func() error) (*httpapi.Response, error) {
	resp, err := p.do(ctx, httpapi.Request{Method: http.MethodGet, Path: path, Query: query, Start: start, MaxResponse: logWithin})
	if err != nil {
		return nil, err
	}
	if resp.Status/100 != 2 && !missing(p.failure(resp, 1)) {
		return nil, p.failure(resp, 1)
	}
	return resp, nil
}

// missing: the API itself says that it has no such thing.
func missing(e *providers.Error) bool { return e.Code == "NOT_FOUND" }

func (p *provider) findOne(ctx context.Context, q *providers.Query, start func() error) (providers.Found, error) {
	id := q.ProviderIDs[0]
	resp, err := p.ask(ctx, "/sms/"+url.PathEscape(id), nil, start)
	if err != nil || resp.Status/100 != 2 {
		return providers.Found{}, err
	}
	top, err := read(resp.Body)
	if err != nil {
		return providers.Found{}, p.http.Failure(resp)
	}
	m := &q.Messages[0]
	e := entryOf(top.within("data").within("message"))
	if e.status == "" {
		return providers.Found{}, p.http.Failure(resp)
	}
	if e.id != "" && e.id != id || e.to != "" && e.to != m.To {
		return providers.Found{}, nil // another's
	}
	e.id = id
	r := e.report(q, m)
	return providers.Found{Reports: []providers.Report{r}, Done: final(r.Status)}, nil
}

// page is one page of a list.
type page struct {
	entries []entry
	total   int
	next    string
}

func (p *provider) readPage(resp *httpapi.Response) (page, error) {
	list, rest, err := readList(resp.Body, "status")
	if err != nil || len(list) > pageSize {
		return page{}, p.http.Failure(resp)
	}
	out := page{total: rest.total, next: rest.cursor, entries: make([]entry, len(list))}
	for i, f := range list {
		out.entries[i] = entryOf(f)
	}
	if len(out.next) > maxCursor {
		out.next = ""
	}
	return out, nil
}

// findLog reads one page of a campaign's log.
func (p *provider) findLog(ctx context.Context, q *providers.Query, s spot, start func() error) (providers.Found, error) {
	query := url.Values{"campaign_id": {s.Campaign}, "page_size": {strconv.Itoa(pageSize)}}
	if s.Page != "" {
		query.Set("cursor", s.Page)
	}
	resp, err := p.ask(ctx, logPath, query, start)
	if err != nil || resp.Status/100 != 2 {
		return providers.Found{}, err
	}
	pg, err := p.readPage(resp)
	if err != nil {
		return providers.Found{}, err
	}
	found := providers.Found{Done: true}
	places := placesOf(q)
	for i := range pg.entries {
		e := &pg.entries[i]
		if e.campaign != s.Campaign && (e.ref == "" || e.ref != q.BatchID) {
			continue
		}
		at, open := places[e.to]
		switch {
		case e.to == "": // whose it is cannot be told, so nobody's absence can be
			s.Others = q.Size + 1
			continue
		case !open:
			s.Others++ // one of the batch that is settled already
			continue
		case s.Seen.has(at):
			continue
		}
		s.Seen.add(at)
		r := e.report(q, &q.Messages[at])
		found.Reports = append(found.Reports, r)
		found.Done = found.Done && final(r.Status)
	}
	s.Page, s.Pages = pg.next, s.Pages+1
	if s.Page != "" && s.Pages <= q.Size/pageSize+1 {
		found.Cursor = s.String()
		return found, nil
	}
	if s.Pages == 1 && len(pg.entries) == 0 && len(q.Messages) == 1 && slices.Contains(q.ProviderIDs, s.Campaign) {
		// Others of the attempt were somebody else's, so that it was one message after all.
		next := spot{Step: stepOne}
		return providers.Found{Cursor: next.String()}, nil
	}
	refused := s.refused(q, pg.total)
	found.Reports = append(found.Reports, refused...)
	found.Done = found.Done && s.Seen.count()+len(refused) == len(q.Messages)
	return found, nil
}

// refused are the messages that the gateway did not take: those that are not in
// its log, if exactly as many are as it said it took.
func (s *spot) refused(q *providers.Query, total int) (list []providers.Report) {
	if q.Accepted <= 0 || s.Seen.count()+s.Others != q.Accepted || s.Others > q.Size-len(q.Messages) || total >= 0 && total != q.Accepted {
		return nil
	}
	for i := range q.Messages {
		if m := &q.Messages[i]; !s.Seen.has(i) {
			list = append(list, providers.Report{
				BatchID: q.BatchID, MessageID: m.ID, To: m.To, Status: providers.ReportRefused,
				Code: "rejected", Detail: "counted as rejected, and not in the message log",
			})
		}
	}
	return list
}

// findProbe looks for one number of an attempt that had no answer.
func (p *provider) findProbe(ctx context.Context, q *providers.Query, s spot, start func() error) (providers.Found, error) {
	m := &q.Messages[s.Probe]
	resp, err := p.ask(ctx, logPath, url.Values{
		"destination": {m.To}, "page_size": {strconv.Itoa(pageSize)},
		"from_date": {q.Sent.Add(-before).UTC().Format(time.RFC3339)}, "to_date": {q.Sent.Add(after).UTC().Format(time.RFC3339)},
	}, start)
	if err != nil || resp.Status/100 != 2 {
		return providers.Found{}, err
	}
	pg, err := p.readPage(resp)
	if err != nil {
		return providers.Found{}, err
	}
	var found providers.Found
	ours := slices.IndexFunc(pg.entries, func(e entry) bool { return e.ref == q.BatchID && e.to == m.To })
	if ours >= 0 {
		e := &pg.entries[ours]
		r := e.report(q, m)
		found.Reports, found.Done = []providers.Report{r}, final(r.Status)
		if e.campaign != "" && q.Size > 1 {
			next := spot{Step: stepLog, Campaign: e.campaign}
			found.Cursor = next.String()
			return found, nil
		}
	}
	if s.Probe++; s.Probe < min(probes, len(q.Messages)) {
		found.Cursor = s.String()
	}
	found.Done = found.Done && len(q.Messages) == 1
	return found, nil
}

// placesOf are the places of the open messages by number. A batch names none twice.
func placesOf(q *providers.Query) map[string]int {
	places := make(map[string]int, len(q.Messages))
	for i := range q.Messages {
		places[q.Messages[i].To] = i
	}
	return places
}
