// Package providers is the contract between Tuma and a bulk-SMS gateway's API.
//
// An adapter is a pure translator: it turns a Batch into one HTTP request and
// the answer into one Result for each message. It does not retry, sleep, log,
// limit, start goroutines or know the bus. What else an API can do beside
// sending (reports, look-up, balance, inbound) are add-on interfaces, checked
// once when the account is built.
package providers

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Provider sends messages through one account of one gateway.
//
// All methods may be called from many goroutines.
type Provider interface {
	// Limits says what one request of this API may carry.
	Limits() Limits

	// Check says whether this account can carry m at all (number, sender, text,
	// encoding). It returns nil or an *Error of class RejectedHere or Rejected.
	Check(m *Message) error

	// GroupKey returns a key that is equal for messages which may share one
	// request. Messages of different keys never share one; neither do two
	// messages to the same number, which the caller sees to. Messages that Check
	// takes and that differ in ID, To and Segments alone have equal keys; those of
	// a channel beside SMS need not.
	GroupKey(m *Message) string

	// Send makes one HTTP request for the batch, and only one. It returns
	// err == nil whenever the gateway gave an answer that speaks of the single
	// messages, however bad; the answer for b.Messages[i] is then results[i].
	// A non-nil err is an *Error and holds for every message of the batch.
	// Send honours ctx, b.Start and b.Fence.
	Send(ctx context.Context, b *Batch) (results []Result, err error)
}

// Limits is what one request may carry.
type Limits struct {
	MaxBatch    int       // recipients of one request
	CallbackURL bool      // a request (or message) may name the URL for its reports
	Correlator  bool      // reports echo the id that we gave a message
	Channels    []Channel // what it carries beside SMS
}

// Batch is one request. Messages are never empty and name no number twice.
type Batch struct {
	ID          string // our id of the attempt: lower-case letters, digits and '-', at most 40 bytes; sent as client reference where the API takes one
	CallbackURL string // where reports for exactly this batch go; empty when Limits.CallbackURL is false
	Messages    []Message
	// Start is asked when the request is ready and its connection is there,
	// immediately before its first byte is handed over. When it returns an error
	// nothing leaves, not even the header, and the attempt is surely not sent
	// (class Unavailable, wrapping the error). Nil: it may start at any time.
	Start func() error
	// Fence is asked immediately before the last byte of the request's body is
	// handed to the connection. When it returns an error the byte is withheld
	// and the attempt is surely not sent (class Unavailable). Nil: no fence.
	Fence func() error
}

// Message is one message as an adapter sees it.
type Message struct {
	ID        string            // message id, unique; used as correlator where the API takes one
	To        string            // E.164 with its plus
	From      string            // sender id
	Text      string            // literal text, or a template when Variables is not nil
	Variables map[string]string // values of the {{placeholders}} in Text; nil: Text is sent as typed
	Segments  int
	ExpiresAt time.Time         // zero: none
	Channel   Channel           // empty: SMS
	Template  *Template         // of channels that send nothing else
	Options   map[string]string // what only some gateways know (link_id); Check refuses names that this one does not
}

// Channel is the way in which a message reaches its number.
type Channel string

// WhatsApp is the only channel beside SMS. An adapter whose Limits do not name a
// channel is never handed a message of it.
const WhatsApp Channel = "whatsapp"

// Template is a text that the gateway keeps, by its name, with values for its
// placeholders in their order.
type Template struct {
	Name       string
	Language   string
	Parameters []string
}

// Result is the gateway's answer for one message.
type Result struct {
	Class      Class
	ProviderID string // the gateway's id of the message; may be empty, or shared by the batch
	Code       string // the gateway's own code, verbatim
	Detail     string // the gateway's own words, trimmed to 200 bytes, free of texts, numbers and secrets
	Taken      int    // with Uncertain: how many messages of the whole batch the gateway says it took, without naming them; 0: it does not say
	Segments   int    // as billed; 0 when the gateway does not say
	Cost       string // as told, with its unit; empty when not told
	Operator   string
	RetryAfter time.Duration // with Accepted, too: the gateway says that its limit is used up until then
	Need       Need
	OptOut     bool // refused because its number wants nothing from this account, or may get nothing
}

// Need says what an account waits for, where a refusal tells: of class
// Misconfigured, or Throttled for longer than pacing takes. Empty: it does not tell.
type Need string

// The needs.
const (
	NeedBalance Need = "balance" // more money or units
	NeedQuota   Need = "quota"   // a new day, RetryAfter from now: today's allowance is used up
)

// Class says what an answer means for a message. It is the vocabulary of the
// verdict table in internal/dispatch, the only place that decides what follows.
type Class int

// The classes.
const (
	Accepted      Class = iota + 1 // the gateway took it
	Rejected                       // this message is refused for good, on any account
	RejectedHere                   // sender, number or text is not for this account: another may carry it
	Throttled                      // surely not sent; too fast, wait RetryAfter
	Unavailable                    // surely not sent; the gateway is ill or out of reach
	Misconfigured                  // surely not sent; credentials, permission or balance: the account must pause
	Uncertain                      // may have been sent, nobody can tell
)

// String returns the class in lower case, as used in logs and metrics.
func (c Class) String() string {
	switch c {
	case Accepted:
		return "accepted"
	case Rejected:
		return "rejected"
	case RejectedHere:
		return "rejected_here"
	case Throttled:
		return "throttled"
	case Unavailable:
		return "unavailable"
	case Misconfigured:
		return "misconfigured"
	case Uncertain:
		return "uncertain"
	}
	return "unknown"
}

// Report is one delivery report, normalised.
type Report struct {
	BatchID    string       // our Batch.ID, when the API echoes it (client_ref); else empty
	MessageID  string       // our Message.ID, when the API echoes it (correlator); else empty
	ProviderID string       // the gateway's id; may be empty
	To         string       // E.164 with its plus, best effort; empty when not told
	Status     ReportStatus // what the report says
	Code       string       // the gateway's own status word or code, verbatim, at most 64 bytes
	Detail     string
	Time       string // the gateway's own time, verbatim: its zone is often unknown
	OptOut     bool   // it did not arrive because its number wants nothing from this account, or may get nothing
}

// ReportStatus is what a report says of a message.
type ReportStatus int

// The report statuses. ReportUnknown is a word that no table knows: it is kept
// as an event's detail and changes nothing. All but ReportUnknown and
// ReportRefused prove that the gateway took the message.
const (
	ReportUnknown ReportStatus = iota
	ReportPending
	ReportDelivered
	ReportUndelivered
	ReportRefused // only from a look-up: the gateway did not take it
)

// Callback is one HTTP request that a gateway made to us, with its raw body.
type Callback struct {
	Method string
	Header http.Header
	Query  url.Values
	Body   []byte
	Time   time.Time // when it arrived here
}

// Reporter is an add-on interface of providers whose gateway calls us with
// delivery reports.
type Reporter interface {
	// VerifyReport checks what the callback itself proves (signature, user and
	// password), in constant time. Capability tokens in the URL are checked by
	// the caller. Any error means: not authentic.
	VerifyReport(cb *Callback) error
	// ParseReports reads the reports of a callback. Reports that it could read
	// are returned even if err is not nil. An unknown status word is a report
	// with ReportUnknown, never an error.
	ParseReports(cb *Callback) ([]Report, error)
	// SelfVerifying reports whether VerifyReport alone proves authenticity, so
	// that the URL's token may be absent (signatures over the body).
	SelfVerifying() bool
}

// Inbound is one message from a handset (MO).
type Inbound struct {
	ID   string    `json:"id"` // the gateway's id
	From string    `json:"from"`
	To   string    `json:"to"`
	Text string    `json:"text"`
	Time time.Time `json:"time"`
}

// Receiver is an add-on interface of providers that hand over inbound messages.
type Receiver interface {
	// ParseInbound reads the inbound messages of a callback, with the HTTP answer
	// that the gateway expects once they are stored. Those that it could read are
	// returned even if err is not nil; without an error there is at least one.
	ParseInbound(cb *Callback) (in []Inbound, contentType string, answer []byte, err error)
}

// Options is what an adapter is built from. Credentials are resolved; adapters
// never read files or the environment.
type Options struct {
	Account     string
	BaseURL     string // without a trailing slash; empty: the API's own
	Credentials map[string]string
	Options     map[string]any    // the account's `options` of the config
	Timeout     time.Duration     // of one request
	BatchSize   int               // recipients of one request; 0: the API's own limit; never above it
	AllowHTTP   bool              // permit plain http to a host that is not loopback
	Transport   http.RoundTripper // nil: httpapi's own; tests pass theirs
	Now         func() time.Time
}

// Factory builds an account's adapter. It fails with an error that names the
// missing or wrong key.
type Factory func(Options) (Provider, error)
