// Package httpapi holds the HTTP rules that every adapter shares, once: how a
// request leaves, what a failure of it proves, and what a status means that an
// adapter's own tables do not know.
//
// The rule that matters most is when a request was surely not sent. Neither
// httptrace's WroteRequest nor the text of an error tells; bytes do. The
// request's body knows what the transport took of it, and the connection whether
// the kernel took the end of that. A body not taken whole cannot have been acted
// upon; one taken whole without a trusted answer may have been.
package httpapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// What a request gets when nothing else is said.
const (
	DefaultTimeout     = 10 * time.Second
	DefaultMaxResponse = 4 << 20
)

// ErrUnreadable says that a gateway answered with something that is no answer
// of its API: a page, a cut document, the wrong shape.
var ErrUnreadable = errors.New("unreadable answer")

// Options is what a Client is made from.
type Options struct {
	BaseURL   string // empty: Default
	Default   string // the API's own base URL
	Timeout   time.Duration
	AllowHTTP bool              // permit plain http to a host that is not loopback
	Transport http.RoundTripper // nil: NewTransport; another one must neither follow redirects nor repeat requests
	Now       func() time.Time  // nil: time.Now
	// Credentials are struck out of answers: a gateway may repeat them, and its
	// words are kept.
	Credentials map[string]string
}

// Client makes requests to one API. Its methods may be called from many
// goroutines.
type Client struct {
	base      string
	timeout   time.Duration
	transport http.RoundTripper
	now       func() time.Time
	secrets   []string
}

// New returns a client. It refuses a base URL that is not absolute, that has a
// user, query or fragment, and plain http to a host that is not loopback unless
// AllowHTTP is set: the credentials would travel in the open.
func New(o Options) (*Client, error) {
	base := o.BaseURL
	if base == "" {
		base = o.Default
	}
	base = strings.TrimRight(base, "/")
	if err := checkBase(base, o.AllowHTTP); err != nil {
		return nil, err
	}
	c := &Client{base: base, timeout: o.Timeout, transport: o.Transport, now: o.Now, secrets: slices.Collect(maps.Values(o.Credentials))}
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	if c.transport == nil {
		c.transport = NewTransport()
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c, nil
}

// checkBase never repeats the URL: it may hold a password.
func checkBase(base string, allowHTTP bool) error {
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("base_url: not an absolute http or https URL")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("base_url: must have no user, query or fragment")
	case u.Scheme == "http" && !allowHTTP && !loopback(u.Hostname()):
		return errors.New("base_url: plain http to a host that is not loopback needs allow_http: true")
	}
	return nil
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// Request is one HTTP request. Path is appended to the base URL as it is:
// whoever builds it escapes what goes into it (url.PathEscape).
type Request struct {
	Method      string
	Path        string // starts with a slash
	Query       url.Values
	Header      http.Header // leaves as it is spelled: some servers look for "api-key" and no other
	ContentType string
	Body        []byte
	Start       func() error // asked before the first byte leaves; see providers.Batch
	Fence       func() error // asked before the body's last byte leaves; see providers.Batch
	MaxResponse int64        // bytes of the answer's body; 0: DefaultMaxResponse
}

// Response is an answer, whatever its status. The body of an answer that is not
// 2xx may be cut at Request.MaxResponse or where the connection broke; its
// status counts all the same.
type Response struct {
	Status  int
	Header  http.Header
	Body    []byte
	Partial bool // the answer came before the whole request had left, and the rest was withheld
}

// Do makes one request and never a second one: no redirect is followed, nothing
// is replayed. A non-nil err is an *providers.Error and means that there is no
// trusted answer: Unavailable when the request surely did not leave whole,
// Uncertain when it may have.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	sent := wire{start: r.Start}
	body := &requestBody{data: r.Body, start: sent.unwatched, fence: r.Fence, ends: sent.bodyEnds}
	if len(r.Body) == 0 && r.Fence != nil {
		if err := r.Fence(); err != nil {
			return nil, notSent(err)
		}
	}
	req, err := c.build(httptrace.WithClientTrace(ctx, sent.trace()), r, body)
	if err != nil {
		return nil, &providers.Error{Class: providers.Misconfigured, Err: err}
	}
	resp, err := c.transport.RoundTrip(req)
	whole, fenceErr := body.seal()
	if resp != nil {
		defer func() { _ = resp.Body.Close() }() // nothing hangs on it: the answer was read or given up
	}
	switch {
	case fenceErr != nil:
		return nil, notSent(fenceErr)
	case err != nil && sent.refused() != nil:
		return nil, notSent(sent.refused())
	case err != nil && (!whole || sent.withheld()):
		return nil, notSent(plain(ctx, err))
	case err != nil:
		return nil, uncertain(0, plain(ctx, err))
	}
	return c.read(ctx, r, resp, whole)
}

func (c *Client) build(ctx context.Context, r Request, body *requestBody) (*http.Request, error) {
	if r.Path != "" && r.Path[0] != '/' {
		return nil, errors.New("httpapi: a path starts with a slash")
	}
	target := c.base + r.Path
	if len(r.Query) > 0 {
		target += "?" + r.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target, nil)
	if err != nil {
		return nil, errors.New("httpapi: bad method or path") // the cause would repeat the query
	}
	// Set by hand, so that GetBody stays nil: with it net/http would POST again
	// by itself on a dropped connection.
	req.Body = body
	req.ContentLength = int64(len(r.Body))
	for k, v := range r.Header {
		switch http.CanonicalHeaderKey(k) {
		case "Idempotency-Key", "X-Idempotency-Key": // their mere presence makes net/http think that a POST may be replayed
		default:
			req.Header[k] = v
		}
	}
	req.Header.Set("User-Agent", "tuma")
	if r.ContentType != "" {
		req.Header.Set("Content-Type", r.ContentType)
	}
	return req, nil
}

func (c *Client) read(ctx context.Context, r Request, resp *http.Response, whole bool) (*Response, error) {
	answer := &Response{Status: resp.StatusCode, Header: resp.Header, Partial: !whole}
	if resp.StatusCode < 200 { // 101: what follows is no HTTP answer
		return answer, nil
	}
	limit := r.MaxResponse
	if limit <= 0 {
		limit = DefaultMaxResponse
	}
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(resp.Body, limit+1))
	if n > limit {
		err = fmt.Errorf("%w: longer than %d bytes", ErrUnreadable, limit)
		buf.Truncate(int(limit))
	} else if err != nil {
		err = plain(ctx, err)
	}
	if err != nil && resp.StatusCode < 300 {
		return nil, uncertain(resp.StatusCode, err)
	}
	answer.Body = bytes.TrimPrefix(buf.Bytes(), []byte("\ufeff")) // a mark of UTF-8, which no reader of JSON takes
	c.strike(answer.Body, r.Header)
	return answer, nil
}

// leastSecret is as short as a secret may be to be struck out: "demo" and "1" stand
// in answers for other reasons.
const leastSecret = 8

// strike overwrites the credentials in an answer's body, as they are, as a URL or
// a form has them, and as the request's headers did. Its length stays, and with it
// whatever else the body says. A user name that is a phone number stays: it may be
// a recipient's, whose answer would be lost, and Trim lets no number through.
func (c *Client) strike(body []byte, sent http.Header) {
	words := slices.Clone(c.secrets)
	for _, values := range sent {
		for _, v := range values {
			words = append(words, v)
			if _, token, ok := strings.Cut(v, " "); ok { // Bearer, Basic
				words = append(words, token)
			}
		}
	}
	for _, w := range words {
		for _, form := range []string{w, url.QueryEscape(w)} {
			if len(form) < leastSecret || strings.HasPrefix(form, "application/") || E164(form) != "" {
				continue
			}
			for rest := body; ; {
				i := bytes.Index(rest, []byte(form))
				if i < 0 {
					break
				}
				copy(rest[i:], strings.Repeat("*", len(form)))
				rest = rest[i+len(form):]
			}
		}
	}
}

func notSent(err error) *providers.Error {
	return &providers.Error{Class: providers.Unavailable, Err: err}
}

func uncertain(status int, err error) *providers.Error {
	return &providers.Error{Class: providers.Uncertain, Status: status, Err: err}
}

// NewTransport returns the transport that a Client makes for itself, for those
// who wrap it: HTTP/1 only (HTTP/2 repeats requests by itself), no compression,
// bounded headers, and connections given up before a gateway closes them, which
// after 5 s many do. It takes no proxy from the environment: credentials go
// only where the configuration says.
func NewTransport() *http.Transport {
	dial := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &watchedConn{Conn: conn}, nil
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    5 * time.Second,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        4 * time.Second,
	}
}
