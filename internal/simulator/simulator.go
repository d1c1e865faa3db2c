// Package simulator answers as the five SMS gateways that Tuma speaks to, and
// remembers what it saw. It is the judge in tests: it was written from the
// gateways' API documents alone, refuses whatever they do not allow, and its
// Ledger says which message was really taken, how often, and how fast requests
// came. docs/simulator.md tells how to use it.
//
// It is a tool for tests and demonstrations on a loopback address: its control
// routes ask for no credentials, and its ledger holds numbers, texts and
// callback URLs in full.
package simulator

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"time"
)

// The provider types, as used in all maps of Options and in the ledger.
const (
	CloudRebue      = "cloudrebue"
	SMSBox          = "smsbox"
	BulkSMSRates    = "bulksmsrates"
	DigitalServices = "digitalservices"
	SMSScheduler    = "smsscheduler"
	SMSBoxInbound   = "smsbox-inbound" // key of Options.Callbacks only
)

// Types lists the simulated provider types.
func Types() []string {
	return []string{CloudRebue, SMSBox, BulkSMSRates, DigitalServices, SMSScheduler}
}

// Options configures a Simulator. The zero value works.
type Options struct {
	// Credentials that each type demands, by type. A missing type has those of
	// DemoCredentials.
	Credentials map[string]map[string]string
	// Callbacks are the URLs that a customer sets in a gateway's portal:
	// "bulksmsrates" (webhook), "smsbox" (reports), "smsbox-inbound" (MO).
	// Without one, that gateway reports nothing. The other types are told the
	// URL by each request.
	Callbacks map[string]string
	// ReportDelay is how long after acceptance a report is sent: evenly spread
	// from half to one and a half of it. Zero: 500 ms; negative: at once.
	ReportDelay time.Duration
	// Rates are the enforced limits in requests per second by type. A missing
	// type has its default (cloudrebue 120, bulksmsrates 100, the others 10);
	// 0 means no limit.
	Rates map[string]int
	// RetryScale multiplies the waits between attempts at a callback, so that a
	// test need not wait 335 s. Zero: 1.
	RetryScale float64
	// Ledger, when not nil, gets every request as one JSON line in one Write,
	// before the request is answered.
	Ledger io.Writer
	// Seed makes probabilities and delays repeatable for one order of requests.
	// Ids are never repeated, not even by a simulator that starts anew.
	Seed int64
	// Now is the clock; nil: time.Now. Rate windows use its monotonic reading.
	Now func() time.Time
	// Log gets what callbacks could not deliver; nil: nothing.
	Log *slog.Logger
}

// DemoCredentials returns the fixed credentials that Options.Credentials
// defaults to, by type.
func DemoCredentials() map[string]map[string]string {
	return map[string]map[string]string{
		CloudRebue: {"token": "demo-cloudrebue-token"},
		SMSBox:     {"api_key": "demo-smsbox-key", "api_secret": "demo-smsbox-secret"},
		BulkSMSRates: {"api_key": "bsms_live_demo", "api_secret": "sk_live_demo", "webhook_secret": "demo-webhook-secret",
			"email": "demo@example.com", "password": "demo-password", "verify_token": "demo-verify-token"},
		DigitalServices: {"api_key": "demo-dsc-key", "username": "demo", "password": "demo-dsc-password",
			"dlr_username": "demo-dlr", "dlr_password": "demo-dlr-password"},
		SMSScheduler: {"token": "demo-smsscheduler-token"},
	}
}

// Simulator is five gateways behind one http.Handler. All methods may be called
// from many goroutines.
type Simulator struct {
	opts     Options
	start    time.Time
	seed     uint64 // of ids: differs with every start, as clients outlive a simulator
	gateways map[string]gateway
	ledger   *Ledger
	faults   *faultBox
	reports  *reporter
	inbound  *inboundSender
}

// New builds a Simulator. It starts nothing: Run sends the callbacks.
func New(o Options) *Simulator {
	o = withDefaults(o)
	s := &Simulator{opts: o, start: o.Now()}
	s.seed = uint64(o.Seed) ^ uint64(s.start.UnixNano())
	s.ledger = newLedger(o, s.start)
	s.faults = newFaultBox(o.Seed)
	s.reports = newReporter(s)
	s.inbound = &inboundSender{sim: s, client: s.reports.client}
	s.gateways = map[string]gateway{
		CloudRebue:      &cloudRebue{sim: s},
		SMSBox:          newSMSBox(s),
		BulkSMSRates:    newBulkSMSRates(s),
		DigitalServices: &digitalServices{sim: s},
		SMSScheduler:    newSMSScheduler(s),
	}
	s.ledger.gates = s.gateways
	return s
}

func withDefaults(o Options) Options {
	creds := DemoCredentials()
	maps.Copy(creds, o.Credentials)
	o.Credentials = creds
	rates := map[string]int{CloudRebue: 120, BulkSMSRates: 100, SMSBox: 10, DigitalServices: 10, SMSScheduler: 10}
	maps.Copy(rates, o.Rates)
	o.Rates = rates
	if o.ReportDelay == 0 {
		o.ReportDelay = 500 * time.Millisecond
	}
	if o.RetryScale == 0 {
		o.RetryScale = 1
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// root is where each API begins, below the simulator's own root URL. It ends
// where an account's base_url ends.
func root(typ string) string {
	switch typ {
	case CloudRebue:
		return "/cloudrebue/api/v1"
	case SMSBox:
		return "/smsbox/api/sms/v1"
	case BulkSMSRates:
		return "/bulksmsrates/v1"
	case DigitalServices:
		return "/digitalservices/api/v2"
	case SMSScheduler:
		return "/smsscheduler/api/v1"
	}
	return ""
}

// BaseURL returns the base_url of an account of the given type when the
// Handler is served at root, e.g. "http://127.0.0.1:8090". It is empty for an
// unknown type.
func (s *Simulator) BaseURL(rootURL, typ string) string {
	if root(typ) == "" {
		return ""
	}
	return strings.TrimRight(rootURL, "/") + root(typ)
}

// Ledger returns the record of all requests.
func (s *Simulator) Ledger() *Ledger { return s.ledger }

// SetFaults replaces all faults and switches by the given ones; without
// arguments it removes them. Nothing changes if it returns an error.
func (s *Simulator) SetFaults(faults ...Fault) error { return s.faults.set(faults) }

// Run sends delivery reports when they are due. It blocks until ctx is done and
// every sender has ended, and then returns nil. Reports still due then wait for
// another Run.
func (s *Simulator) Run(ctx context.Context) error {
	s.reports.run(ctx)
	return nil
}

// Reset forgets the ledger, the messages, the reports still due, and the
// faults. Ids go on counting, so that none is given twice.
func (s *Simulator) Reset() {
	_ = s.faults.set(nil)
	s.reports.reset()
	for _, g := range s.gateways {
		g.forget()
	}
	s.ledger.reset()
}

// Handler serves the five APIs and the control routes below /_sim/.
func (s *Simulator) Handler() http.Handler {
	control := s.control()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if first == "_sim" {
			control.ServeHTTP(w, r)
			return
		}
		// No ServeMux here: it would redirect unclean paths without the ledger seeing them.
		g, ok := s.gateways[first]
		if !ok {
			http.NotFound(w, r)
			return
		}
		s.serve(first, g, w, r)
	})
}

func (s *Simulator) since() time.Duration { return s.opts.Now().Sub(s.start) }

func (s *Simulator) wall(d time.Duration) time.Time { return s.start.Add(d).UTC() }

func (s *Simulator) credential(typ, key string) string { return s.opts.Credentials[typ][key] }
