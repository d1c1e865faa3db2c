package simulator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// The kinds of Fault. docs/simulator.md says what each does.
const (
	// The end of a request; at most one of these strikes a request.
	faultStatus   = "status"
	faultThrottle = "throttle"
	faultReset    = "reset"
	faultHang     = "hang"
	faultCut      = "cut"
	faultHTML     = "html"
	// These add up.
	faultLatency = "latency"
	faultPartial = "partial"
	faultMissing = "missing"
	faultReorder = "reorder"
	// Moods of one API; the last is of all.
	faultBalance     = "balance"
	faultQuota       = "quota"
	faultSloppyJSON  = "sloppy_json"
	faultErrorIn200  = "error_in_200"
	faultNoClientRef = "no_client_ref"
	faultLooseJSON   = "loose_json"
	// Fates of single reports.
	faultReportEarly       = "report_early"
	faultReportLate        = "report_late"
	faultReportTwice       = "report_twice"
	faultReportLost        = "report_lost"
	faultReportUndelivered = "report_undelivered"
)

type strikes int

const (
	strikesEnd strikes = iota + 1
	strikesRequest
	strikesReport
)

func kindOf(kind string) strikes {
	switch kind {
	case faultStatus, faultThrottle, faultReset, faultHang, faultCut, faultHTML:
		return strikesEnd
	case faultLatency, faultPartial, faultMissing, faultReorder,
		faultBalance, faultQuota, faultSloppyJSON, faultErrorIn200, faultNoClientRef, faultLooseJSON:
		return strikesRequest
	case faultReportEarly, faultReportLate, faultReportTwice, faultReportLost, faultReportUndelivered:
		return strikesReport
	}
	return 0
}

// Fault is one thing that goes wrong. With neither Probability nor Next it
// strikes always; with both, at Probability until it struck Next times.
type Fault struct {
	Type        string   `json:"type,omitempty"` // provider type; empty: all
	Kind        string   `json:"kind"`
	Probability float64  `json:"probability,omitempty"` // 0..1, of requests (report_*: of messages)
	Next        int      `json:"next,omitempty"`        // strikes left (report_*: of messages)
	Any         bool     `json:"any,omitempty"`         // look-ups too; else POST only
	After       bool     `json:"after,omitempty"`       // after accepting: the gateway has the messages
	Status      int      `json:"status,omitempty"`      // status
	Body        string   `json:"body,omitempty"`        // status, throttle: "" the API's own error where it has one, "html", "empty"
	RetryAfter  string   `json:"retry_after,omitempty"` // throttle: "" 1 second, "date", "none", else as given
	Bytes       int      `json:"bytes,omitempty"`       // reset before accepting: body bytes read until then; 0: all
	Delay       Duration `json:"delay,omitempty"`       // latency, report_late
	Jitter      Duration `json:"jitter,omitempty"`      // latency: up to this much more
	Share       float64  `json:"share,omitempty"`       // partial, missing: part of the recipients; 0: one half
	Struck      int      `json:"struck,omitempty"`      // told, not taken: how often it struck
}

func (f *Fault) check() error {
	switch {
	case kindOf(f.Kind) == 0:
		return fmt.Errorf("simulator: unknown fault kind %q", f.Kind)
	case f.Type != "" && !slices.Contains(Types(), f.Type):
		return fmt.Errorf("simulator: unknown provider type %q", f.Type)
	case f.Probability < 0 || f.Probability > 1 || f.Share < 0 || f.Share > 1:
		return fmt.Errorf("simulator: fault %s: probability and share are 0 to 1", f.Kind)
	case f.Next < 0 || f.Bytes < 0 || f.Delay < 0 || f.Jitter < 0:
		return fmt.Errorf("simulator: fault %s: negative value", f.Kind)
	case f.Kind == faultStatus && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("simulator: fault status: status must be 200 to 599")
	case f.Body != "" && f.Body != "html" && f.Body != "empty":
		return fmt.Errorf("simulator: fault %s: body is \"\", \"html\" or \"empty\"", f.Kind)
	case f.Kind == faultThrottle && f.After:
		return fmt.Errorf("simulator: fault throttle never comes after accepting")
	}
	return nil
}

// Duration is a time.Duration that JSON writes as "250ms".
type Duration time.Duration

// MarshalText writes d as time.Duration.String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// picked are the faults that strike one request.
type picked struct {
	end              *Fault
	before, after    time.Duration
	partial, missing *Fault
	reorder          bool
	moods            map[string]bool
	names            []string // for the ledger
}

func share(f *Fault) float64 {
	if f.Share == 0 {
		return 0.5
	}
	return f.Share
}

// faultBox holds the faults and the one source of chance.
type faultBox struct {
	mu     sync.Mutex
	rand   *rand.Rand
	faults []Fault
}

func newFaultBox(seed int64) *faultBox {
	return &faultBox{rand: rand.New(rand.NewPCG(uint64(seed), 0x7a3a))}
}

func (b *faultBox) set(faults []Fault) error {
	for i := range faults {
		if err := faults[i].check(); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = slices.Clone(faults)
	for i := range b.faults {
		b.faults[i].Struck = 0
		if b.faults[i].Next == 0 {
			b.faults[i].Next = -1 // no end
		}
	}
	return nil
}

func (b *faultBox) list() []Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := slices.Clone(b.faults)
	out = slices.DeleteFunc(out, func(f Fault) bool { return f.Next == 0 })
	for i := range out {
		out[i].Next = max(out[i].Next, 0)
	}
	return out
}

// strike rolls one fault. The caller holds the lock.
func (b *faultBox) strike(f *Fault, typ string) bool {
	if f.Next == 0 || f.Type != "" && f.Type != typ {
		return false
	}
	if f.Probability > 0 && b.rand.Float64() >= f.Probability {
		return false
	}
	f.Struck++
	if f.Next > 0 {
		f.Next--
	}
	return true
}

// pick rolls the faults of one request.
func (b *faultBox) pick(typ string, post bool) picked {
	b.mu.Lock()
	defer b.mu.Unlock()
	var p picked
	for i := range b.faults {
		f := &b.faults[i]
		s := kindOf(f.Kind)
		if s == strikesReport || !post && !f.Any || s == strikesEnd && p.end != nil || !b.strike(f, typ) {
			continue
		}
		own := *f // a copy: the box goes on counting in its own
		p.names = append(p.names, f.Kind)
		switch f.Kind {
		case faultLatency:
			d := time.Duration(f.Delay) + time.Duration(b.rand.Int64N(int64(f.Jitter)+1))
			if f.After {
				p.after += d
			} else {
				p.before += d
			}
		case faultPartial:
			p.partial = &own
		case faultMissing:
			p.missing = &own
		case faultReorder:
			p.reorder = true
		default:
			if s == strikesEnd {
				p.end = &own
				continue
			}
			if p.moods == nil {
				p.moods = map[string]bool{}
			}
			p.moods[f.Kind] = true
		}
	}
	return p
}

// report bends the plan of one message.
func (b *faultBox) report(typ string, p plan) plan {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.faults {
		f := &b.faults[i]
		if kindOf(f.Kind) != strikesReport || !b.strike(f, typ) {
			continue
		}
		switch f.Kind {
		case faultReportEarly:
			p.early = true
		case faultReportLate:
			p.slow, p.late = true, time.Duration(f.Delay)
		case faultReportTwice:
			p.twice = true
		case faultReportLost:
			p.lost = true
		case faultReportUndelivered:
			p.word = undelivered
		}
	}
	return p
}

func (b *faultBox) chance(p float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rand.Float64() < p
}

// spread returns half to one and a half of d.
func (b *faultBox) spread(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return d/2 + time.Duration(b.rand.Int64N(int64(d)+1))
}
