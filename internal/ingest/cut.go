package ingest

import (
	"slices"
	"strings"

	"github.com/tuma-sms/tuma/internal/route"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// maxPieceBytes bounds the variables and texts of one piece, well below the
// 1 MiB that a NATS server takes unless told otherwise.
const maxPieceBytes = 512 << 10

// cut routes every message of a whole submission and groups the messages into
// pieces, each for one account and no larger than one of its requests. Messages
// that no account can carry are refused; those that go in ASCII instead (see
// choose) get the segments that this takes, in p too. Routing the same piece again may cut it in
// another way, as accounts fall ill and configs change: copies are harmless, and
// pieces are named by what they carry.
func (in *Ingest) cut(p *envelope.Piece) (pieces []envelope.Piece, refused []Rejected) {
	want := route.Want{Provider: p.Provider, Allowed: in.allowed(p.Tenant)}
	if len(p.Messages) == 1 {
		return in.cutOne(p, want)
	}
	open := map[string]*group{} // by route
	var order []*group
	for i := range p.Messages {
		m := &p.Messages[i]
		chosen, as, err := in.choose(p, m, want)
		if err != nil {
			refused = append(refused, rejected(m.Index, m.To, err))
			continue
		}
		text := p.Text
		if as != nil {
			m, text = &as.Messages[0], as.Text
		}
		in.wellFirst(chosen)
		key := strings.Join(chosen, " ")
		if as != nil {
			key += " plain"
		}
		g := open[key]
		if size := messageSize(m); g == nil || len(g.messages) >= in.pieceSize(chosen[0]) || g.bytes+size > maxPieceBytes {
			g = &group{route: chosen, text: text}
			open[key] = g
			order = append(order, g)
		}
		g.messages, g.bytes = append(g.messages, *m), g.bytes+messageSize(m)
	}
	for _, g := range order {
		part := *p
		part.Account, part.Route, part.Text, part.Messages = g.route[0], g.route[1:], g.text, g.messages
		pieces = append(pieces, part)
	}
	return pieces, refused
}

// wellFirst puts those accounts last that are ill: they may be well when their turn
// comes.
func (in *Ingest) wellFirst(accounts []string) {
	slices.SortStableFunc(accounts, func(a, b string) int { return sick(in.down, a) - sick(in.down, b) })
}

func sick(down func(string) bool, account string) int {
	if down(account) {
		return 1
	}
	return 0
}

// cutOne is cut for what most submissions are.
func (in *Ingest) cutOne(p *envelope.Piece, want route.Want) (pieces []envelope.Piece, refused []Rejected) {
	m := &p.Messages[0]
	chosen, as, err := in.choose(p, m, want)
	if err != nil {
		return nil, []Rejected{rejected(m.Index, m.To, err)}
	}
	if as == nil {
		as = p
	}
	in.wellFirst(chosen)
	pieces = []envelope.Piece{*as}
	pieces[0].Account, pieces[0].Route = chosen[0], chosen[1:]
	return pieces, nil
}

// group is a piece that is being filled.
type group struct {
	route    []string
	text     string // the piece's, or that in ASCII
	messages []envelope.Message
	bytes    int
}

func (in *Ingest) pieceSize(account string) int {
	return max(1, min(in.accounts[account].BatchSize, envelope.MaxPiece))
}

func (in *Ingest) allowed(tenant string) []string {
	if t := in.tenants[tenant]; t != nil {
		return t.Accounts
	}
	return nil
}

// requests is how many a piece takes, if it shares none with others: of a channel
// beside SMS each message takes one.
func requests(p *envelope.Piece) int {
	if p.Channel != "" {
		return len(p.Messages)
	}
	return 1
}

// check asks the account itself.
func (in *Ingest) check(account string, m *providers.Message) error {
	a := in.accounts[account]
	if a == nil {
		return envelope.Refuse(envelope.NoRoute, "provider", "there is no such account")
	}
	if in.optedOut(account, m.To) {
		return envelope.Refuse(envelope.OptedOut, "to", "the recipient has opted out")
	}
	if m.Channel != "" && !slices.Contains(a.Channels, m.Channel) {
		return &providers.Error{Class: providers.RejectedHere, Detail: "does not carry " + string(m.Channel)}
	}
	return a.Check(m)
}

// view is a message as adapters see it.
func view(p *envelope.Piece, m *envelope.Message) *providers.Message {
	out := &providers.Message{
		ID: envelope.MessageID(p.ID, m.Index), To: m.To, From: p.From, Text: p.Text,
		Segments: m.Segments, ExpiresAt: p.ExpiresAt, Channel: providers.Channel(p.Channel), Options: p.Options,
	}
	switch {
	case p.Form != nil:
		out.Template = (*providers.Template)(p.Filled(m))
	case p.Template:
		out.Variables = m.Variables
	}
	return out
}

// messageSize estimates the JSON of a message, never too low.
func messageSize(m *envelope.Message) int {
	n := 64 + len(m.To) + escaped(m.Ref)
	for k, v := range m.Variables {
		n += len(k) + escaped(v) + 8
	}
	return n
}

// escaped is the length of s as a JSON string: the encoder writes control
// characters and <, > and & in six bytes each.
func escaped(s string) int {
	n := len(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == '<' || c == '>' || c == '&' || c == 0xe2: // 0xe2 begins U+2028, which is escaped too
			n += 5
		case c == '"' || c == '\\':
			n++
		}
	}
	return n
}
