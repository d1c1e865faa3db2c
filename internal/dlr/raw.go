package dlr

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// Last tokens of callback subjects.
const (
	kindReport  = "dlr"
	kindParked  = "unmatched" // reports that wait for their message
	kindStale   = "stale"     // reports that have waited for it for a while
	kindInbound = "inbound"
)

// raw is a callback as it is stored: what parsing needs, and nothing that was
// only needed to trust it.
type raw struct {
	Time        time.Time
	Method      string
	Batch       string // from the URL's capability
	ContentType string
	WebhookID   string
	Query       string
	Body        []byte
}

const (
	contentType = "Content-Type"
	webhookID   = "X-Webhook-Id"
)

// newRaw keeps of a callback what may lie on the bus for a week.
func newRaw(cb *providers.Callback, batch string) raw {
	r := raw{
		Time: cb.Time, Method: cb.Method, Batch: batch, Body: cb.Body,
		ContentType: cb.Header.Get(contentType), WebhookID: cb.Header.Get(webhookID),
	}
	if len(cb.Query) == 0 {
		return r
	}
	query := url.Values{}
	for name, values := range cb.Query {
		for _, v := range values {
			if !credential(name) {
				query.Add(name, withoutCredential(v))
			}
		}
	}
	r.Query = query.Encode()
	return r
}

// credential reports whether a parameter is one of those by which Digital Services'
// callbacks prove themselves.
func credential(name string) bool { return name == "username" || name == "password" }

// withoutCredential takes off a value the credential that hangs on it: a gateway that
// puts its own parameters behind a URL that has some hangs their first on our last,
// as in "…=$status$?password=…".
func withoutCredential(v string) string {
	before, behind, _ := strings.Cut(v, "?")
	if hung, _, _ := strings.Cut(behind, "="); credential(hung) {
		return before
	}
	return v
}

// id is the same for a callback that is sent again.
func (r *raw) id(account, kind string, trustWebhookID bool) string {
	b := make([]byte, 0, 512) // of most callbacks, on the stack
	b = append(b, account...)
	b = append(b, '/')
	b = append(b, kind...)
	b = append(b, '/')
	b = append(b, r.Batch...)
	b = append(b, '/')
	if r.WebhookID != "" && trustWebhookID {
		b = append(b, "id/"...)
		b = append(b, r.WebhookID...)
	} else {
		b = append(b, r.Method...)
		b = append(b, '/')
		b = strconv.AppendInt(b, int64(len(r.Query)), 10)
		b = append(b, ':')
		b = append(b, r.Query...)
		b = append(b, '/')
		b = append(b, r.Body...)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// document is a raw as JSON. Reading and writing one by reflection costs more
// than all else that is done with a callback, so append writes it by hand, and
// readRaw has a short way for what append wrote.
type document struct {
	Time   time.Time         `json:"time"`
	Method string            `json:"method"`
	Batch  string            `json:"batch,omitempty"`
	Header map[string]string `json:"header,omitempty"`
	Query  string            `json:"query,omitempty"`
	Body   []byte            `json:"body,omitempty"`
}

// append writes r byte for byte as encoding/json writes its document.
func (r *raw) append(b []byte) []byte {
	b = append(b, `{"time":"`...)
	b = r.Time.AppendFormat(b, time.RFC3339Nano)
	b = appendJSON(append(b, `","method":`...), r.Method)
	if r.Batch != "" {
		b = appendJSON(append(b, `,"batch":`...), r.Batch)
	}
	if r.ContentType != "" || r.WebhookID != "" {
		b = append(b, `,"header":{`...)
		if r.ContentType != "" {
			b = appendJSON(append(b, `"`+contentType+`":`...), r.ContentType)
		}
		if r.WebhookID != "" {
			if r.ContentType != "" {
				b = append(b, ',')
			}
			b = appendJSON(append(b, `"`+webhookID+`":`...), r.WebhookID)
		}
		b = append(b, '}')
	}
	if r.Query != "" {
		b = appendJSON(append(b, `,"query":`...), r.Query)
	}
	if len(r.Body) > 0 {
		b = base64.StdEncoding.AppendEncode(append(b, `,"body":"`...), r.Body)
		b = append(b, '"')
	}
	return append(b, '}')
}

// size is how many bytes append writes of most callbacks, at least.
func (r *raw) size() int {
	return 160 + len(r.Batch) + len(r.ContentType) + len(r.WebhookID) + len(r.Query) + base64.StdEncoding.EncodedLen(len(r.Body))
}

func appendJSON(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // strings always can
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// read takes a document apart.
func (r *raw) read(data []byte) error {
	if r.short(data) {
		return nil
	}
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return err
	}
	*r = raw{
		Time: d.Time, Method: d.Method, Batch: d.Batch, ContentType: d.Header[contentType], WebhookID: d.Header[webhookID],
		Query: d.Query, Body: d.Body,
	}
	return nil
}

// short reads a document that append wrote and in which nothing is escaped. It
// reports false for all others, and r is then worth nothing.
func (r *raw) short(data []byte) bool {
	p := pieces{s: string(data)} // one copy for all strings
	p.must(`{"time":"`)
	at := p.until()
	p.must(`,"method":"`)
	*r = raw{Method: p.until()}
	if p.may(`,"batch":"`) {
		r.Batch = p.until()
	}
	if p.may(`,"header":{"` + contentType + `":"`) {
		r.ContentType = p.until()
		if p.may(`,"` + webhookID + `":"`) {
			r.WebhookID = p.until()
		}
		p.must(`}`)
	} else if p.may(`,"header":{"` + webhookID + `":"`) {
		r.WebhookID = p.until()
		p.must(`}`)
	}
	if p.may(`,"query":"`) {
		r.Query = p.until()
	}
	var err error
	if p.may(`,"body":"`) {
		r.Body, err = base64.StdEncoding.DecodeString(p.until())
	}
	p.must(`}`)
	if err != nil || p.off || p.s != "" {
		return false
	}
	return r.Time.UnmarshalText([]byte(at)) == nil
}

// pieces takes a text apart from its front; off is set once it is not as expected.
type pieces struct {
	s   string
	off bool
}

func (p *pieces) may(prefix string) bool {
	if len(p.s) < len(prefix) || p.s[:len(prefix)] != prefix {
		return false
	}
	p.s = p.s[len(prefix):]
	return true
}

func (p *pieces) must(prefix string) {
	if !p.may(prefix) {
		p.off = true
	}
}

// until returns what comes before the next quotation mark, and takes that too.
func (p *pieces) until() string {
	for i := range len(p.s) {
		switch c := p.s[i]; {
		case c == '"':
			v := p.s[:i]
			p.s = p.s[i+1:]
			return v
		case c == '\\' || c < ' ' || c > '~':
			p.off = true
			return ""
		}
	}
	p.off = true
	return ""
}

// readRaw takes a stored callback apart.
func readRaw(data []byte) (*providers.Callback, string, error) {
	var r raw
	if err := r.read(data); err != nil {
		return nil, "", fmt.Errorf("stored callback: %w", err)
	}
	cb := &providers.Callback{Method: r.Method, Header: http.Header{}, Body: r.Body, Time: r.Time}
	if r.Query != "" {
		var err error
		if cb.Query, err = url.ParseQuery(r.Query); err != nil {
			return nil, "", fmt.Errorf("stored callback: query: %w", err)
		}
	}
	if r.ContentType != "" {
		cb.Header.Set(contentType, r.ContentType)
	}
	if r.WebhookID != "" {
		cb.Header.Set(webhookID, r.WebhookID)
	}
	return cb, r.Batch, nil
}
