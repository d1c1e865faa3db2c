package providers

import (
	"context"
	"slices"
	"time"
)

// Slot gives leave for one request within the account's limits, whenever that is
// possible. Start is as Batch.Start: the request's connection asks it before its
// first byte. An error of Slot means that nothing may be sent.
type Slot func(ctx context.Context) (start func() error, err error)

// Finder is an add-on interface of providers that can be asked what became of
// messages: of those that nobody reports on, and of an attempt of which it is not
// known whether it was taken.
type Finder interface {
	// Finds reports whether there is anything to ask with: false means that Find
	// would fail whatever the gateway knows.
	Finds(q *Query) bool
	// Find makes one request. start is as Batch.Start; it may be nil.
	//
	// A report of Found belongs to the attempt of q beyond doubt: by our id, by
	// the gateway's id, or because nothing else can be meant. What is only likely
	// is left out. Find never changes anything at the gateway.
	Find(ctx context.Context, q *Query, start func() error) (Found, error)
}

// Query names an attempt, and where its last page ended.
type Query struct {
	BatchID     string    // our Batch.ID
	ProviderIDs []string  // the gateway's ids that its answer gave; none if there was no answer
	Messages    []Message // ID, To and Channel of those that are still open; of the others nothing is told
	Sent        time.Time // when the request left, by our clock
	Accepted    int       // how many of all the answer said were taken; 0: it did not say
	Size        int       // messages of the attempt, open or not
	Cursor      string    // Found.Cursor; empty: the first page
}

// Found is one page of what became of an attempt.
type Found struct {
	Reports []Report
	Cursor  string // more pages; empty: this was the last
	Done    bool   // no later look-up can tell more
}

// Desk is an add-on interface of providers at which a person may do or ask other
// things than send: list sender ids, stop what is scheduled, see a campaign.
type Desk interface {
	// Operations lists them. The list never changes, and is there without a
	// request and without working credentials.
	Operations() []Operation
}

// Balancer is an add-on interface of providers that tell an account's balance.
type Balancer interface {
	// Balance returns the amount with its unit, as told, after one request. start
	// is as Batch.Start; it may be nil.
	Balance(ctx context.Context, start func() error) (string, error)
}

// Operation is one thing to do or to ask. It is a row of a table: what its name
// is, what it needs, and the function that does it.
type Operation struct {
	Name    string  // one of the Op constants where one fits, else the API's own word; [a-z-]+
	About   string  // one line
	Params  []Param // in the order in which a person would give them
	Changes bool    // something at the gateway, so that it is never repeated by itself
	// Do makes the requests it needs, each with a Slot of its own, and returns what
	// there is to show, as JSON would: no secrets. An *Error says why it did not work.
	Do func(ctx context.Context, args map[string]string, slot Slot) (any, error)
}

// Param is one argument of an Operation.
type Param struct {
	Name, About string
	Required    bool
}

// Names of operations that several gateways have. Those on a message take its
// gateway's id as "id".
const (
	OpCancel     = "cancel"         // id: stop what was not sent yet
	OpSuspend    = "suspend"        // id: hold it
	OpResume     = "resume"         // id: let it go on
	OpReschedule = "reschedule"     // id, at (RFC 3339)
	OpRewrite    = "rewrite"        // id, text
	OpStatus     = "status"         // id: what the gateway knows of it
	OpSenders    = "senders"        // list sender ids
	OpAskSender  = "request-sender" // name, and what else the API wants
	OpOptOuts    = "opt-outs"       // numbers that want nothing
	OpTemplates  = "templates"      // kept texts
	OpCampaigns  = "campaigns"      // list
)

// Notice is something that a gateway's webhook tells beside reports on messages.
type Notice struct {
	Kind   NoticeKind
	ID     string   // the gateway's id of what it is about: a campaign; may be empty
	Number string   // E.164 with its plus: of an opt-out
	Detail string   // the gateway's own words, trimmed, free of texts, numbers and secrets
	MO     *Inbound // of NoticeInbound
}

// NoticeKind is what a notice is about.
type NoticeKind string

// The kinds of notices.
const (
	NoticeOptOut     NoticeKind = "opt_out"     // Number wants nothing from this account any more
	NoticeBalanceLow NoticeKind = "balance_low" // below the account's own threshold
	NoticeCampaign   NoticeKind = "campaign"    // one ended; Detail says how
	NoticeInbound    NoticeKind = "inbound"     // a message from a handset
)

// Noticer is an add-on interface of Reporters whose callbacks also tell other
// things.
type Noticer interface {
	// ParseNotices reads the notices of a callback whose reports ParseReports
	// reads; most have none.
	ParseNotices(cb *Callback) ([]Notice, error)
}

// Challenger is an add-on interface of providers whose gateway checks a callback
// URL before it uses it.
type Challenger interface {
	// Challenge returns the answer to such a check, or false if cb is none, or is
	// not authentic.
	Challenge(cb *Callback) (contentType string, answer []byte, ok bool)
}

// Subscriber is an add-on interface of providers whose callbacks must be asked
// for, and may be switched off by the gateway.
type Subscriber interface {
	// Subscribe sees to it that url is called with everything that the adapter
	// understands, with as few requests as it needs; nothing if the account's options
	// do not ask for it. It returns what it changed, in a few words, empty if all was
	// well. Repeating it changes nothing.
	Subscribe(ctx context.Context, url string, slot Slot) (changed string, err error)
}

// Abilities lists what an adapter can do, in words for people: send, and what its
// add-on interfaces and operations add.
func Abilities(p Provider) []string {
	list := []string{"send"}
	add := func(has bool, word string) {
		if has {
			list = append(list, word)
		}
	}
	_, reports := p.(Reporter)
	_, finds := p.(Finder)
	_, balance := p.(Balancer)
	_, inbound := p.(Receiver)
	_, notices := p.(Noticer)
	_, subscribes := p.(Subscriber)
	add(reports, "reports")
	add(finds, "look-up")
	add(balance, "balance")
	add(inbound, "inbound")
	add(notices, "notices")
	add(subscribes, "webhooks")
	for _, c := range p.Limits().Channels {
		list = append(list, string(c))
	}
	if d, ok := p.(Desk); ok {
		for _, o := range d.Operations() {
			list = append(list, o.Name)
		}
	}
	slices.Sort(list[1:])
	return slices.Compact(list)
}
