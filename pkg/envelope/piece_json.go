package envelope

import (
	"encoding/json"
	"slices"
	"strconv"
)

// DecodePiece reads a piece as encoding/json would, several times as fast for
// what AppendPiece wrote. All strings of p share one copy of data. Whatever p held is
// replaced; on an error, which is encoding/json's, what it holds then counts for
// nothing. Values are not looked at: see Piece.Check.
func DecodePiece(data []byte, p *Piece) error {
	s := &scanner{s: string(data)}
	*p = Piece{}
	s.object(func(key string) int { return p.scan(s, key) })
	if s.end(); !s.off {
		return nil
	}
	*p = Piece{}
	return json.Unmarshal(data, p)
}

// scan reads the value of one field.
func (p *Piece) scan(s *scanner, key string) int {
	switch key {
	case "id":
		p.ID = s.string()
		return 0
	case "origin":
		p.Origin = new(Origin)
		s.object(func(key string) int { return p.Origin.scan(s, key) })
		return 1
	case "tenant":
		p.Tenant = s.string()
		return 2
	case "priority":
		p.Priority = Priority(s.string())
		return 3
	case "account":
		p.Account = s.string()
		return 4
	case "route":
		p.Route = []string{}
		s.array(func() { p.Route = append(p.Route, s.string()) })
		return 5
	case "from":
		p.From = s.string()
		return 6
	case "text":
		p.Text = s.string()
		return 7
	case "template":
		p.Template = s.bool()
		return 8
	case "accepted_at":
		p.AcceptedAt = s.time()
		return 9
	case "send_at":
		t := s.time()
		p.SendAt = &t
		return 10
	case "expires_at":
		p.ExpiresAt = s.time()
		return 11
	case "messages":
		p.Messages = make([]Message, 0, s.atMost(40, MaxPiece))
		s.array(func() {
			p.Messages = append(p.Messages, Message{})
			m := &p.Messages[len(p.Messages)-1]
			s.object(func(key string) int { return m.scan(s, key) })
		})
		return 12
	}
	return p.scanRare(s, key)
}

func (p *Piece) scanRare(s *scanner, key string) int {
	switch key {
	case "on_uncertain":
		p.OnUncertain = Policy(s.string())
		return 13
	case "supersede_key":
		p.SupersedeKey = s.string()
		return 14
	case "provider":
		p.Provider = s.string()
		return 15
	case "ref":
		p.Ref = s.string()
		return 16
	case "metadata":
		p.Metadata = s.strings()
		return 17
	case "traceparent":
		p.Traceparent = s.string()
		return 18
	case "attempts":
		p.Attempts = s.int()
		return 19
	case "tries":
		p.Tries = s.int()
		return 20
	case "replay_of":
		p.ReplayOf = s.string()
		return 21
	case "retry_of":
		p.RetryOf = s.uint()
		return 22
	case "channel":
		p.Channel = Channel(s.string())
		return 23
	case "form":
		p.Form = new(Template)
		s.object(func(key string) int { return p.Form.scan(s, key) })
		return 24
	case "options":
		p.Options = s.strings()
		return 25
	}
	return -1
}

func (o *Origin) scan(s *scanner, key string) int {
	switch key {
	case "stream":
		o.Stream = s.string()
		return 0
	case "epoch":
		o.Epoch = s.int64()
		return 1
	case "seq":
		o.Seq = s.uint()
		return 2
	}
	return -1
}

func (m *Message) scan(s *scanner, key string) int {
	switch key {
	case "i":
		m.Index = s.int()
		return 0
	case "to":
		m.To = s.string()
		return 1
	case "vars":
		m.Variables = s.strings()
		return 2
	case "ref":
		m.Ref = s.string()
		return 3
	case "seg":
		m.Segments = s.int()
		return 4
	}
	return -1
}

// AppendPiece appends the JSON of p to b, byte for byte as encoding/json writes
// it. Only a time after the year 9999 differs: it is written empty, which no
// reader takes.
func AppendPiece(b []byte, p *Piece) []byte {
	b = append(slices.Grow(b, 384+len(p.Text)+52*len(p.Messages)), '{')
	b = appendString(appendKey(b, "id"), p.ID)
	if o := p.Origin; o != nil {
		b = append(appendKey(b, "origin"), '{')
		b = appendString(appendKey(b, "stream"), o.Stream)
		b = strconv.AppendInt(appendKey(b, "epoch"), o.Epoch, 10)
		b = strconv.AppendUint(appendKey(b, "seq"), o.Seq, 10)
		b = append(b, '}')
	}
	b = appendString(appendKey(b, "tenant"), p.Tenant)
	b = appendString(appendKey(b, "priority"), string(p.Priority))
	b = appendText(b, "account", p.Account)
	if len(p.Route) > 0 {
		b = append(appendKey(b, "route"), '[')
		for i, r := range p.Route {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, r)
		}
		b = append(b, ']')
	}
	b = appendString(appendKey(b, "from"), p.From)
	b = appendString(appendKey(b, "text"), p.Text)
	if p.Template {
		b = append(appendKey(b, "template"), "true"...)
	}
	b = appendTime(b, "accepted_at", p.AcceptedAt)
	if p.SendAt != nil {
		b = appendTime(b, "send_at", *p.SendAt)
	}
	b = appendTime(b, "expires_at", p.ExpiresAt)
	b = appendText(b, "on_uncertain", string(p.OnUncertain))
	b = appendText(b, "supersede_key", p.SupersedeKey)
	b = appendText(b, "provider", p.Provider)
	b = appendText(b, "ref", p.Ref)
	b = appendMap(b, "metadata", p.Metadata)
	b = appendText(b, "traceparent", p.Traceparent)
	b = appendCount(b, "attempts", p.Attempts)
	b = appendCount(b, "tries", p.Tries)
	b = appendText(b, "replay_of", p.ReplayOf)
	if p.RetryOf != 0 {
		b = strconv.AppendUint(appendKey(b, "retry_of"), p.RetryOf, 10)
	}
	b = appendText(b, "channel", string(p.Channel))
	b = appendForm(b, p.Form)
	b = appendMap(b, "options", p.Options)
	return append(appendMessages(b, p.Messages), '}')
}

func appendMessages(b []byte, list []Message) []byte {
	b = appendKey(b, "messages")
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i := range list {
		m := &list[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = strconv.AppendInt(appendKey(b, "i"), int64(m.Index), 10)
		b = appendString(appendKey(b, "to"), m.To)
		b = appendMap(b, "vars", m.Variables)
		b = appendText(b, "ref", m.Ref)
		b = strconv.AppendInt(appendKey(b, "seg"), int64(m.Segments), 10)
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendCount(b []byte, key string, n int) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(appendKey(b, key), int64(n), 10)
}
