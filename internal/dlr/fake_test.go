package dlr_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/tuma-sms/tuma/internal/dlr"
	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account = "gw"
	tenant  = "acme"
	secret  = "s3cret-token-canary"
)

// gateway is an adapter whose reports are their own JSON.
type gateway struct {
	urls, signs bool
	mu          sync.Mutex
	polls       map[string]pollAnswer
	polled      int
}

type pollAnswer struct {
	reports []providers.Report
	done    bool
}

func (g *gateway) Limits() providers.Limits {
	return providers.Limits{MaxBatch: 1000, CallbackURL: g.urls}
}
func (*gateway) Check(*providers.Message) error     { return nil }
func (*gateway) GroupKey(*providers.Message) string { return "" }
func (g *gateway) SelfVerifying() bool              { return g.signs }
func (*gateway) Send(context.Context, *providers.Batch) ([]providers.Result, error) {
	return nil, errors.New("never asked to send")
}

func (g *gateway) VerifyReport(cb *providers.Callback) error {
	if g.signs && cb.Header.Get("X-Webhook-Signature") != "good" {
		return errors.New("bad signature")
	}
	return nil
}

func (g *gateway) ParseReports(cb *providers.Callback) ([]providers.Report, error) {
	if string(cb.Body) == "panic" {
		panic("on purpose")
	}
	var r []providers.Report
	if err := json.Unmarshal(cb.Body, &r); err != nil {
		return nil, errors.New("not a list of reports")
	}
	return r, nil
}

func (g *gateway) ParseInbound(cb *providers.Callback) (list []providers.Inbound, contentType string, answer []byte, err error) {
	var in providers.Inbound
	if err := json.Unmarshal(cb.Body, &in); err != nil || in.ID == "" {
		return nil, "", nil, errors.New("not an inbound message")
	}
	list = append(list, in)
	if in.Text == "twice" { // two in one call, and a third that cannot be read
		in.ID += "-2"
		return append(list, in), "", nil, errors.New("one of three")
	}
	return list, "application/json", []byte(`{"ok":"` + in.ID + `"}`), nil
}

// poller is a gateway that is asked.
type poller struct {
	gateway
	asked []providers.Query
}

// herald is a gateway whose callbacks are notices.
type herald struct{ gateway }

func (*herald) ParseReports(*providers.Callback) ([]providers.Report, error) { return nil, nil }

func (*herald) ParseNotices(cb *providers.Callback) (out []providers.Notice, err error) {
	return out, json.Unmarshal(cb.Body, &out)
}

func (*herald) Challenge(cb *providers.Callback) (string, []byte, bool) {
	return "text/plain", []byte(cb.Query.Get("hub.challenge")), cb.Query.Get("hub.verify_token") == "good"
}

func (p *poller) Finds(q *providers.Query) bool { return len(q.ProviderIDs) > 0 }

func (p *poller) Find(_ context.Context, q *providers.Query, _ func() error) (providers.Found, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.polled++
	p.asked = append(p.asked, *q)
	a, ok := p.polls[q.ProviderIDs[0]]
	if !ok {
		return providers.Found{}, &providers.Error{Class: providers.Unavailable}
	}
	return providers.Found{Reports: a.reports, Done: a.done}, nil
}

// counts is an Observer.
type counts struct {
	mu      sync.Mutex
	classes map[dlr.Class]int
	waiting int
}

func (c *counts) Callbacks(_ string, class dlr.Class, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.classes[class] += n
}
func (c *counts) Told(*envelope.Event) {}
func (c *counts) Unmatched(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = n
}
func (c *counts) of(class dlr.Class) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.classes[class]
}

// buffer is a log that many write to.
type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// deaf is a store that reads no stream.
type deaf struct{ *status.Store }

func (deaf) Ready() bool { return true }
