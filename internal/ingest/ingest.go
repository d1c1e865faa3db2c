// Package ingest takes submissions, over HTTP and from the bus: it validates
// them, chooses their route, and stores them in the accounts' queues. What it
// has acknowledged is stored; what it refuses is told to whoever submitted it.
//
// A submission over HTTP that is one piece for one account goes straight into
// that account's queue: one store, one answer. Any other is first stored whole
// in the tenant's own stream, so that it is accepted as one or not at all, and
// the Hop cuts it, as it does with what clients publish themselves.
package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/route"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// Tenant is a client of this installation. It is not changed after New.
type Tenant struct {
	Name          string
	Keys          [][32]byte // SHA-256 of its API keys
	DefaultRegion string     // ISO 3166 alpha-2; empty: national numbers are refused
	StrictNumbers bool       // refuse numbers that no numbering plan has
	Operator      bool
	Transliterate bool     // texts may go in ASCII where no account of the route carries them as written
	Senders       []string // empty: any
	Accounts      []string // empty: any
	Rate          Rate     // zero: no limit
}

// Rate is a tenant's limit, in recipients.
type Rate struct {
	Messages int
	Per      time.Duration
}

// Account is what ingest must know of a provider account.
type Account struct {
	Name      string
	Type      string
	BatchSize int
	Channels  []providers.Channel // beside SMS
	// Check says whether the account can carry a message at all.
	Check func(*providers.Message) error
	// Abilities are words for people; see providers.Abilities.
	Abilities []string
	// Operations are what an operator may do or ask at its gateway.
	Operations []providers.Operation
}

// Options is what New needs. Bus, Journal and Status are required.
type Options struct {
	Bus      *bus.Bus
	Tenants  []Tenant
	Accounts []Account
	Routes   []route.Rule
	Journal  Journal
	Status   Status
	Keys     Keys          // nil: only the bus's own window finds repeats
	Quota    Quota         // nil: rates hold per process
	Operate  ProviderState // nil: GET /v1/providers tells no details
	// Span starts a span of the trace that traceparent names (or a new one) and
	// returns the traceparent that the messages carry on. Nil: theirs is kept.
	Span func(ctx context.Context, name, traceparent string) (context.Context, string, func(error))
	// Down reports whether an account is ill, so that what has another account on
	// its route goes there first. Nil: none ever is.
	Down func(account string) bool
	// Waits says why what is queued for an account is not sent yet: queue, rate,
	// breaker or balance; until is nil where nobody can tell. It must not block.
	// Nil: queue.
	Waits func(account string) (reason string, until *time.Time)
	// OptedOut reports whether a number wants nothing from an account any more. Nil:
	// none does.
	OptedOut func(account, number string) bool
	// OptOutsKnown is closed once OptedOut knows all that was told before: nothing
	// is taken until then. Nil: it does.
	OptOutsKnown <-chan struct{}
	// Ask runs an operation at an account's gateway; see desk.Ask. Nil: none can be.
	Ask func(ctx context.Context, account, operation string, args map[string]string) (json.RawMessage, error)
	// Count counts messages for metrics: accepted, by the account in whose queue they
	// are stored, and rejected, of no account (none). Nil: they are not counted.
	Count func(account string, s envelope.Status, n int)
	// TellAfter is how long after something was closed another process tells it,
	// if the one that closed it has not. Default 20 s.
	TellAfter time.Duration
	Now       func() time.Time
	Log       *slog.Logger
}

// Ingest is the stage. All methods may be called from many goroutines.
type Ingest struct {
	bus      *bus.Bus
	tenants  map[string]*Tenant
	accounts map[string]*Account
	names    []string // of the accounts, in the order given
	routes   *route.Table
	journal  Journal
	status   Status
	keys     Keys
	quota    *quota
	operate  ProviderState
	down     func(account string) bool
	waits    func(account string) (reason string, until *time.Time)
	count    func(account string, s envelope.Status, n int)
	optedOut func(account, number string) bool
	optOuts  <-chan struct{} // closed once they are known; nil: they are
	ask      func(ctx context.Context, account, operation string, args map[string]string) (json.RawMessage, error)
	span     func(ctx context.Context, name, traceparent string) (context.Context, string, func(error))
	now      func() time.Time
	log      *slog.Logger

	owedAfter time.Duration

	open     counter // event streams and submissions under way, by tenant
	complain gate    // of what may fail for every request alike
}

// New returns the stage, or an error that names what is missing.
func New(o Options) (*Ingest, error) {
	if o.Bus == nil || o.Journal == nil || o.Status == nil {
		return nil, errors.New("ingest: bus, journal and status are required")
	}
	in := &Ingest{
		bus: o.Bus, tenants: map[string]*Tenant{}, accounts: map[string]*Account{}, routes: route.New(o.Routes),
		journal: o.Journal, status: o.Status, keys: o.Keys, operate: o.Operate, span: o.Span, now: o.Now, log: o.Log,
		down: o.Down, waits: o.Waits, count: o.Count, optedOut: o.OptedOut, optOuts: o.OptOutsKnown, ask: o.Ask,
	}
	if in.down == nil {
		in.down = func(string) bool { return false }
	}
	if in.optedOut == nil {
		in.optedOut = func(string, string) bool { return false }
	}
	if in.waits == nil {
		in.waits = func(string) (string, *time.Time) { return "queue", nil }
	}
	if in.count == nil {
		in.count = func(string, envelope.Status, int) {}
	}
	if in.owedAfter = o.TellAfter; in.owedAfter == 0 {
		in.owedAfter = storeFor + 5*time.Second
	}
	if in.now == nil {
		in.now = time.Now
	}
	if in.log == nil {
		in.log = slog.New(slog.DiscardHandler)
	}
	if in.span == nil {
		in.span = keepTrace
	}
	for i := range o.Tenants {
		t := &o.Tenants[i]
		if !envelope.ValidName(t.Name) {
			return nil, fmt.Errorf("ingest: %q is not a tenant's name", t.Name)
		}
		in.tenants[t.Name] = t
	}
	for i := range o.Accounts {
		a := &o.Accounts[i]
		if !envelope.ValidName(a.Name) || a.Check == nil {
			return nil, fmt.Errorf("ingest: account %q needs a valid name and a check", a.Name)
		}
		in.accounts[a.Name] = a
		in.names = append(in.names, a.Name)
	}
	in.quota = newQuota(o.Quota, o.Tenants, in.now, in.log)
	return in, nil
}

// refused counts n messages that got no account.
func (in *Ingest) refused(n int) {
	if n > 0 {
		in.count(noAccount, envelope.Rejected, n)
	}
}

// noAccount stands in metrics for messages of which the account is not known.
const noAccount = "none"

func keepTrace(ctx context.Context, _, traceparent string) (context.Context, string, func(error)) {
	return ctx, traceparent, func(error) {}
}
