package envelope

import (
	"encoding/binary"
	"hash/fnv"
	"strconv"
	"strings"
	"time"
)

// Piece is a validated submission, or the part of one that goes to one account.
// Without an Account it is a whole submission that was not routed yet (stored
// whole, or held until its send time); with one it waits in that account's queue.
//
// Every copy of a message (bus hop, fired schedule, failover, retry) carries the
// same Origin and index, which is what makes copies harmless.
type Piece struct {
	ID           string            `json:"id"` // envelope id
	Origin       *Origin           `json:"origin,omitempty"`
	Tenant       string            `json:"tenant"`
	Priority     Priority          `json:"priority"`
	Account      string            `json:"account,omitempty"`
	Route        []string          `json:"route,omitempty"` // accounts still to try after Account, in order
	From         string            `json:"from"`
	Text         string            `json:"text"`
	Template     bool              `json:"template,omitempty"` // Text has {{placeholders}} to fill
	AcceptedAt   time.Time         `json:"accepted_at"`
	SendAt       *time.Time        `json:"send_at,omitempty"`
	ExpiresAt    time.Time         `json:"expires_at"`
	OnUncertain  Policy            `json:"on_uncertain,omitempty"`
	SupersedeKey string            `json:"supersede_key,omitempty"`
	Provider     string            `json:"provider,omitempty"` // account demanded by the client
	Ref          string            `json:"ref,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Traceparent  string            `json:"traceparent,omitempty"`
	Attempts     int               `json:"attempts,omitempty"`  // requests that may have left with these messages
	Tries        int               `json:"tries,omitempty"`     // times that the gateway refused for now, for the back-off
	ReplayOf     string            `json:"replay_of,omitempty"` // message id of the dead letter this replays
	RetryOf      uint64            `json:"retry_of,omitempty"`  // journal sequence of the uncertain intent this may free
	Channel      Channel           `json:"channel,omitempty"`   // empty: SMS
	Form         *Template         `json:"form,omitempty"`      // the channel's template; Template says whether its parameters have {{placeholders}}
	Options      map[string]string `json:"options,omitempty"`
	Messages     []Message         `json:"messages"`
}

// Message is one recipient of a Piece. Index is its place in the submission as
// the client sent it, so that it never changes with how pieces are cut.
type Message struct {
	Index     int               `json:"i"`
	To        string            `json:"to"` // E.164 with its plus
	Variables map[string]string `json:"vars,omitempty"`
	Ref       string            `json:"ref,omitempty"`
	Segments  int               `json:"seg"`
}

// Origin is the place where a submission was first stored on the bus. With an
// index it is a message's identity in the journal. A nil Origin means: the
// place that this copy was read from.
type Origin struct {
	Stream string `json:"stream"`
	Epoch  int64  `json:"epoch"` // tells incarnations of the stream apart
	Seq    uint64 `json:"seq"`
}

// Digest tells pieces of one submission apart by which messages they carry. What
// was published under an id with it can only be taken for a repeat of itself:
// the same submission may be cut differently the second time, by another config.
func (p *Piece) Digest() string {
	h := fnv.New64a()
	var b [8]byte
	for i := range p.Messages {
		binary.LittleEndian.PutUint64(b[:], uint64(p.Messages[i].Index))
		_, _ = h.Write(b[:]) // never fails
	}
	return strconv.FormatUint(h.Sum64(), 36)
}

// Filled returns the channel's template as m gets it, nil if there is none. Of
// what was prepared by Fill nothing can be missing; a piece that something is
// missing of has a template without a name, which no account carries.
func (p *Piece) Filled(m *Message) *Template {
	if p.Form == nil || !p.Template {
		return p.Form
	}
	t, err := p.Form.Fill(m.Variables)
	if err != nil {
		return &Template{}
	}
	return t
}

// MessageID returns the id of the message with the given index of an envelope.
func MessageID(envelopeID string, index int) string {
	return envelopeID + "-" + strconv.Itoa(index)
}

// SplitMessageID takes a message id apart; ok is false when id is not one.
func SplitMessageID(id string) (envelopeID string, index int, ok bool) {
	env, num, found := strings.Cut(id, "-")
	n, err := strconv.Atoi(num)
	if !found || err != nil || n < 0 || env == "" || strconv.Itoa(n) != num {
		return "", 0, false
	}
	return env, n, true
}
