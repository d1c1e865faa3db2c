package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// Client speaks the HTTP API. It is safe for concurrent use.
type Client struct {
	base *url.URL
	key  string
	http *http.Client
	wait waitFunc
}

// NewClient returns a client of the API at base, e.g. http://127.0.0.1:8080.
func NewClient(base, key string) (*Client, error) {
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("--url %s is not an http or https URL", clean(base))
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.ResponseHeaderTimeout = answerWithin
	return &Client{base: u, key: key, wait: sleep, http: &http.Client{
		Transport: tr,
		// The key must not follow a redirect to somewhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// answerWithin is how long an answer may take to begin: more than ingest needs to
// store its largest submission.
const answerWithin = 60 * time.Second

// APIError is an answer other than 2xx.
type APIError struct {
	Status     int
	Code       string
	Detail     string
	Errors     []Refused
	RetryAfter time.Duration
}

// Error returns what the server said.
func (e *APIError) Error() string {
	s := fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	if e.Code != "" {
		s = clean(e.Code)
	}
	if e.Detail != "" {
		s += ": " + clean(e.Detail)
	}
	return s
}

// UnreachableError means that no answer came.
type UnreachableError struct {
	URL string
	Err error
}

// Error says what was tried.
func (e *UnreachableError) Error() string {
	err := e.Err
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Sprintf("cannot reach %s: %s", e.URL, clean(err.Error()))
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Refused is one recipient that was not accepted.
type Refused struct {
	Index  int    `json:"index"`
	Line   int    `json:"line,omitempty"` // of the CSV file
	To     string `json:"to,omitempty"`
	Code   string `json:"code"`
	Detail string `json:"detail,omitempty"`
}

// Answer is the answer to a submission.
type Answer struct {
	ID       string         `json:"id,omitempty"`
	Accepted int            `json:"accepted"`
	Rejected int            `json:"rejected"`
	Messages []Taken        `json:"messages"`
	Errors   []Refused      `json:"errors"`
	Batches  map[string]int `json:"batches,omitempty"`
}

// Taken is one recipient that was accepted.
type Taken struct {
	ID       string `json:"id,omitempty"`
	To       string `json:"to"`
	Segments int    `json:"segments"`
	Provider string `json:"provider,omitempty"`
}

// maxAnswer bounds an answer: 10,000 accepted recipients take about one MiB.
const maxAnswer = 32 << 20

// call makes one request and decodes a JSON answer into out, unless nil.
func (c *Client) call(ctx context.Context, method, path string, header http.Header, in, out any) error {
	resp, err := c.open(ctx, method, path, header, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return &UnreachableError{URL: c.where(), Err: err}
	}
	if out == nil || len(data) == 0 {
		return nil
	}
	if raw, ok := out.(*json.RawMessage); ok && json.Valid(data) {
		*raw = data
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return &APIError{Status: resp.StatusCode, Code: "bad_answer", Detail: "the answer is not what Tuma answers; is " + c.where() + " its API?"}
	}
	return nil
}

// open makes one request and returns a 2xx answer with its body unread.
func (c *Client) open(ctx context.Context, method, path string, header http.Header, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base.String()+path, body)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &UnreachableError{URL: c.where(), Err: err}
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, problem(resp)
}

func (c *Client) where() string { return clean(c.base.Redacted()) }

func problem(resp *http.Response) *APIError {
	var p struct {
		Code   string    `json:"code"`
		Title  string    `json:"title"`
		Detail string    `json:"detail"`
		Errors []Refused `json:"errors"`
	}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	_ = json.Unmarshal(data, &p) // a proxy's HTML: the status has to do
	e := &APIError{Status: resp.StatusCode, Code: p.Code, Detail: p.Detail, Errors: p.Errors}
	if e.Status == http.StatusUnauthorized && e.Detail == "" {
		e.Detail = "the key is not known (--key, TUMA_KEY)"
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s >= 0 && s <= 3600 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	return e
}

// patience is how long a submission is tried again while nothing is stored. The
// tenant's own rate is waited for as long as it takes.
const patience = 30 * time.Second

// Submit submits an envelope under an idempotency key, which makes it safe to
// try again: what was stored already answers as the first time. It tries again
// where the server says so, and where eager is false also while the server is
// out of reach.
func (c *Client) Submit(ctx context.Context, e *envelope.Envelope, key string, dryRun, eager bool) (*Answer, error) {
	path := "/v1/messages"
	if dryRun {
		path += "?dry_run=true"
	}
	h := http.Header{}
	if key != "" && !dryRun {
		h.Set("Idempotency-Key", key)
	}
	var waited time.Duration
	for pause := 250 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		var a Answer
		err := c.call(ctx, http.MethodPost, path, h, e, &a)
		if err == nil {
			return &a, nil
		}
		d, again := retry(err, pause, waited, eager)
		if !again {
			return nil, err
		}
		if err := c.wait(ctx, d); err != nil {
			return nil, err
		}
		waited += d
	}
}

// retry decides by the kind of failure whether and when to try again.
func retry(err error, pause, waited time.Duration, eager bool) (time.Duration, bool) {
	var api *APIError
	var gone *UnreachableError
	switch {
	case errors.As(err, &gone):
		return pause, !eager && waited < patience
	case !errors.As(err, &api):
		return 0, false
	case api.Status == http.StatusTooManyRequests:
		return max(api.RetryAfter, pause), true
	case api.Status == http.StatusConflict || api.Status == http.StatusBadGateway ||
		api.Status == http.StatusServiceUnavailable || api.Status == http.StatusGatewayTimeout:
		return max(api.RetryAfter, pause), waited < patience
	}
	return 0, false
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refusedAll reads an error as the refusal of every recipient; ok is false if it
// is something else.
func refusedAll(err error) (a *Answer, ok bool) {
	var api *APIError
	if errors.As(err, &api) && api.Status == http.StatusUnprocessableEntity && len(api.Errors) > 0 {
		return &Answer{Rejected: len(api.Errors), Errors: api.Errors, Messages: []Taken{}}, true
	}
	return nil, false
}
