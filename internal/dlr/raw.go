package dlr

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// Last tokens of callback subjects.
const (
	kindReport  = "dlr"
	kindParked  = "unmatched" // reports that wait for their message
	kindInbound = "inbound"
)

// raw is a callback as it is stored: what parsing needs, and nothing that was
// only needed to trust it.
type raw struct {
	Time   time.Time         `json:"time"`
	Method string            `json:"method"`
	Batch  string            `json:"batch,omitempty"` // from the URL's capability
	Header map[string]string `json:"header,omitempty"`
	Query  string            `json:"query,omitempty"`
	Body   []byte            `json:"body,omitempty"`
}

const webhookID = "X-Webhook-Id"

// newRaw keeps of a callback what may lie on the bus for a week.
func newRaw(cb *providers.Callback, batch string) raw {
	r := raw{Time: cb.Time, Method: cb.Method, Batch: batch, Body: cb.Body, Header: make(map[string]string, 2)}
	for _, name := range []string{"Content-Type", webhookID} {
		if v := cb.Header.Get(name); v != "" {
			r.Header[name] = v
		}
	}
	if len(cb.Query) == 0 {
		return r
	}
	query := url.Values{}
	for name, values := range cb.Query {
		if name != "username" && name != "password" { // Digital Services sends its callback's own along
			query[name] = values
		}
	}
	r.Query = query.Encode()
	return r
}

// id is the same for a callback that is sent again.
func (r *raw) id(account, kind string, trustWebhookID bool) string {
	what := account + "/" + kind + "/" + r.Batch + "/"
	if wh := r.Header[webhookID]; wh != "" && trustWebhookID {
		what += "id/" + wh
	} else {
		what += r.Method + "/" + strconv.Itoa(len(r.Query)) + ":" + r.Query + "/" + string(r.Body)
	}
	sum := sha256.Sum256([]byte(what))
	return hex.EncodeToString(sum[:16])
}

// readRaw takes a stored callback apart.
func readRaw(data []byte) (*providers.Callback, string, error) {
	var r raw
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, "", fmt.Errorf("stored callback: %w", err)
	}
	query, err := url.ParseQuery(r.Query)
	if err != nil {
		return nil, "", fmt.Errorf("stored callback: query: %w", err)
	}
	header := http.Header{}
	for name, v := range r.Header {
		header.Set(name, v)
	}
	return &providers.Callback{Method: r.Method, Header: header, Query: query, Body: r.Body, Time: r.Time}, r.Batch, nil
}
