package providertest

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// The views are what fixtures hold: classes and statuses as words.

type batchView struct {
	ID          string        `json:"id"`
	CallbackURL string        `json:"callback_url,omitempty"`
	Messages    []messageView `json:"messages"`
}

type messageView struct {
	ID        string              `json:"id"`
	To        string              `json:"to"`
	From      string              `json:"from"`
	Text      string              `json:"text"`
	Variables map[string]string   `json:"variables,omitempty"`
	Segments  int                 `json:"segments,omitempty"`
	ExpiresAt time.Time           `json:"expires_at,omitzero"`
	Channel   providers.Channel   `json:"channel,omitempty"`
	Template  *providers.Template `json:"template,omitempty"`
	Options   map[string]string   `json:"options,omitempty"`
}

// queryView is a .query.json.
type queryView struct {
	BatchID     string        `json:"batch_id,omitempty"`
	ProviderIDs []string      `json:"provider_ids,omitempty"`
	Messages    []messageView `json:"messages,omitempty"`
	Sent        time.Time     `json:"sent,omitzero"`
	Accepted    int           `json:"accepted,omitempty"`
	Size        int           `json:"size,omitempty"`
	Cursor      string        `json:"cursor,omitempty"`
}

func (v queryView) query() *providers.Query {
	q := &providers.Query{BatchID: v.BatchID, ProviderIDs: v.ProviderIDs, Sent: v.Sent, Accepted: v.Accepted, Size: v.Size, Cursor: v.Cursor}
	for _, m := range v.Messages {
		q.Messages = append(q.Messages, providers.Message(m))
	}
	return q
}

type noticeView struct {
	Kind   providers.NoticeKind `json:"kind"`
	ID     string               `json:"id,omitempty"`
	Number string               `json:"number,omitempty"`
	Detail string               `json:"detail,omitempty"`
	MO     *providers.Inbound   `json:"mo,omitempty"`
}

func viewNotices(notices []providers.Notice) []noticeView {
	var out []noticeView
	for _, n := range notices {
		out = append(out, noticeView(n))
	}
	return out
}

func (v batchView) batch() *providers.Batch {
	b := &providers.Batch{ID: v.ID, CallbackURL: v.CallbackURL}
	for _, m := range v.Messages {
		b.Messages = append(b.Messages, providers.Message(m))
	}
	return b
}

type resultView struct {
	Class      string `json:"class"`
	ProviderID string `json:"provider_id,omitempty"`
	Code       string `json:"code,omitempty"`
	Detail     string `json:"detail,omitempty"`
	Segments   int    `json:"segments,omitempty"`
	Cost       string `json:"cost,omitempty"`
	Operator   string `json:"operator,omitempty"`
	RetryAfter string `json:"retry_after,omitempty"`

	Need   providers.Need `json:"need,omitempty"`
	OptOut bool           `json:"opt_out,omitempty"`
	Taken  int            `json:"taken,omitempty"`
}

type errorView struct {
	Class      string   `json:"class"`
	Status     int      `json:"status,omitempty"`
	Code       string   `json:"code,omitempty"`
	Detail     string   `json:"detail,omitempty"`
	RetryAfter string   `json:"retry_after,omitempty"`
	BadNumbers []string `json:"bad_numbers,omitempty"`
	Bisect     bool     `json:"bisect,omitempty"`

	Need   providers.Need `json:"need,omitempty"`
	OptOut bool           `json:"opt_out,omitempty"`
}

type reportView struct {
	BatchID    string `json:"batch_id,omitempty"`
	MessageID  string `json:"message_id,omitempty"`
	ProviderID string `json:"provider_id,omitempty"`
	To         string `json:"to,omitempty"`
	Status     string `json:"status"`
	Code       string `json:"code,omitempty"`
	Detail     string `json:"detail,omitempty"`
	Time       string `json:"time,omitempty"`
	OptOut     bool   `json:"opt_out,omitempty"`
}

// wantView is a .want.json of any folder.
type wantView struct {
	Verify      string              `json:"verify,omitempty"` // ok or refused
	Results     []resultView        `json:"results,omitempty"`
	Reports     []reportView        `json:"reports,omitempty"`
	Done        bool                `json:"done,omitempty"`
	Cursor      string              `json:"cursor,omitempty"`
	Notices     []noticeView        `json:"notices,omitempty"`
	Shown       any                 `json:"shown,omitempty"` // by an operation
	Inbound     []providers.Inbound `json:"inbound,omitempty"`
	ContentType string              `json:"content_type,omitempty"`
	Answer      string              `json:"answer,omitempty"`
	Balance     string              `json:"balance,omitempty"`
	Error       *errorView          `json:"error,omitempty"`
	Unreadable  bool                `json:"unreadable,omitempty"` // a callback with an error
}

func (w wantView) encode() []byte {
	b, err := json.MarshalIndent(w, "", "  ")
	if err != nil {
		panic(err) // plain data
	}
	return append(b, '\n')
}

func viewResults(results []providers.Result) []resultView {
	var out []resultView
	for _, r := range results {
		out = append(out, resultView{r.Class.String(), r.ProviderID, r.Code, r.Detail, r.Segments, r.Cost, r.Operator, viewDuration(r.RetryAfter), r.Need, r.OptOut, r.Taken})
	}
	return out
}

func viewReports(reports []providers.Report) []reportView {
	words := map[providers.ReportStatus]string{
		providers.ReportUnknown: "unknown", providers.ReportPending: "pending",
		providers.ReportDelivered: "delivered", providers.ReportUndelivered: "undelivered", providers.ReportRefused: "refused",
	}
	var out []reportView
	for _, r := range reports {
		out = append(out, reportView{r.BatchID, r.MessageID, r.ProviderID, r.To, words[r.Status], r.Code, r.Detail, r.Time, r.OptOut})
	}
	return out
}

func viewError(err error) *errorView {
	var e *providers.Error
	if !errors.As(err, &e) {
		return nil
	}
	return &errorView{e.Class.String(), e.Status, e.Code, e.Detail, viewDuration(e.RetryAfter), e.BadNumbers, e.Bisect, e.Need, e.OptOut}
}

func viewDuration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
