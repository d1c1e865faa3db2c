package dlr

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/pkg/providers"
)

const (
	maxBody     = 64 << 10
	readTimeout = 5 * time.Second
	retryAfter  = "5" // seconds, told with a 503
)

// Handler serves /dlr/{account}/{token} and /inbound/{account}/{token}. It
// answers 2xx only once the bus has stored the callback. Neither path nor query
// may be logged by whoever wraps it: both carry secrets.
func (c *Collector) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, token := range []string{"", "/{token}"} {
		mux.HandleFunc("/dlr/{account}"+token, func(w http.ResponseWriter, r *http.Request) {
			c.take(w, r, kindReport, http.MethodGet, http.MethodPost)
		})
		mux.HandleFunc("/inbound/{account}"+token, func(w http.ResponseWriter, r *http.Request) {
			if c.challenged(w, r) {
				return
			}
			c.take(w, r, kindInbound, http.MethodPost)
		})
	}
	return mux
}

func (c *Collector) take(w http.ResponseWriter, r *http.Request, kind string, methods ...string) {
	if r.Method != http.MethodPost { // the answer to one is nobody's to keep, and a header costs as much as the rest of it
		w.Header().Set("Cache-Control", "no-store")
	}
	a := c.accounts[r.PathValue("account")]
	if a == nil || kind == kindReport && a.reporter == nil || kind == kindInbound && a.receiver == nil {
		refuse(w, http.StatusNotFound)
		return
	}
	allowed := false
	for _, m := range methods {
		allowed = allowed || r.Method == m
	}
	if !allowed { // HEAD too: whoever looks ahead must not settle anything
		w.Header().Set("Allow", strings.Join(methods, ", "))
		refuse(w, http.StatusMethodNotAllowed)
		return
	}
	batch, ok := a.trusts(kind, r.PathValue("token"))
	if !ok {
		c.o.Observer.Callbacks(a.Name, Refused, 1)
		refuse(w, http.StatusNotFound)
		return
	}
	gate := a.gate
	if r.PathValue("token") == "" {
		gate = a.unproved
	}
	if !gate.enter() {
		c.unavailable(w, a)
		return
	}
	defer gate.leave()
	cb, status := c.read(w, r)
	if status != 0 {
		refuse(w, status)
		return
	}
	if (kind == kindReport || r.PathValue("token") == "") && a.reporter.VerifyReport(cb) != nil {
		c.o.Observer.Callbacks(a.Name, Refused, 1)
		refuse(w, http.StatusUnauthorized)
		return
	}
	c.answer(w, r, a, kind, cb, batch)
}

// trusts says whether a URL's token lets its bearer speak for the account, and
// for which batch if it is a capability.
func (a *account) trusts(kind, token string) (batch string, ok bool) {
	switch {
	case token == "":
		return "", a.reporter != nil && a.reporter.SelfVerifying()
	case a.urls && kind == kindReport:
		return a.capabilities.Batch(token)
	}
	return "", isSecret(a.Secrets, token)
}

// read reads the request within its limits; status is 0 if it could.
func (c *Collector) read(w http.ResponseWriter, r *http.Request) (cb *providers.Callback, status int) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout)) // not every writer has one; servers do
	body, err := readBody(w, r)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, http.StatusRequestEntityTooLarge
	case err != nil:
		return nil, http.StatusBadRequest
	}
	var query url.Values
	if r.URL.RawQuery != "" {
		if query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
			return nil, http.StatusBadRequest
		}
	}
	if len(query) == 0 && len(body) == 0 {
		return nil, http.StatusBadRequest
	}
	return &providers.Callback{Method: r.Method, Header: r.Header, Query: query, Body: body, Time: c.o.Now().UTC()}, 0
}

// readBody reads a body of at most maxBody bytes, into no more memory than it
// needs if the caller says how long it is.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength < 0 || r.ContentLength > maxBody {
		return io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	return body, err
}

// answer stores a callback and answers it.
func (c *Collector) answer(w http.ResponseWriter, r *http.Request, a *account, kind string, cb *providers.Callback, batch string) {
	form, body := "", []byte(nil)
	if kind == kindInbound {
		// What cannot be read is stored all the same and becomes a dead letter.
		_, form, body, _ = a.parseInbound(cb)
	}
	stored := newRaw(cb, batch)
	id := stored.id(a.Name, kind, a.reporter != nil && a.reporter.SelfVerifying())
	class := Repeated
	if !c.seen.has(id) {
		class = Stored
		if !c.store(r, a, kind, &stored, id) {
			c.unavailable(w, a)
			return
		}
		c.seen.add(id)
		crash.At("dlr.before-answer")
	}
	c.o.Observer.Callbacks(a.Name, class, 1)
	if form != "" {
		w.Header().Set(contentType, form)
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // it is stored: a caller who is gone will call again
}

// store waits until the bus has the callback.
func (c *Collector) store(r *http.Request, a *account, kind string, cb *raw, id string) bool {
	if !c.o.Bus.Connected() {
		return false
	}
	if n := c.storing.Add(1); n > c.most.Load() {
		c.most.Store(n)
	}
	defer c.storing.Add(-1)
	p, err := c.o.Bus.PublishAsync(bus.Out{Subject: bus.CallbackSubject(a.Name, kind), Data: cb.append(make([]byte, 0, cb.size())), MsgID: id})
	if err == nil {
		_, err = p.Wait(r.Context())
	}
	if err != nil {
		c.o.Log.Warn("callback not stored", "account", a.Name, "error", err)
	}
	return err == nil
}

// unavailable tells a gateway to call again. Most do, so this loses nothing.
func (c *Collector) unavailable(w http.ResponseWriter, a *account) {
	c.o.Observer.Callbacks(a.Name, Unavailable, 1)
	w.Header().Set("Retry-After", retryAfter)
	refuse(w, http.StatusServiceUnavailable)
}

// challenged answers a gateway that checks a URL before it uses it. It proves
// itself by what it asks, so that nothing is stored.
func (c *Collector) challenged(w http.ResponseWriter, r *http.Request) bool {
	a := c.accounts[r.PathValue("account")]
	if r.Method != http.MethodGet || a == nil || a.challenger == nil {
		return false
	}
	contentType, answer, ok := a.challenger.Challenge(&providers.Callback{Method: r.Method, Header: r.Header, Query: r.URL.Query(), Time: c.o.Now().UTC()})
	if !ok {
		c.o.Observer.Callbacks(a.Name, Refused, 1)
		refuse(w, http.StatusNotFound)
		return true
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(answer) // who is gone will ask again
	return true
}

func refuse(w http.ResponseWriter, status int) { http.Error(w, http.StatusText(status), status) }
