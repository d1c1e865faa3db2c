package envelope

import (
	"encoding/json"
	"slices"
	"strconv"
)

// DecodeEvent reads an event as encoding/json would, several times as fast for
// what AppendEvent wrote. All strings of e share one copy of data. Whatever e held is
// replaced; on an error, which is encoding/json's, what it holds then counts for nothing.
func DecodeEvent(data []byte, e *Event) error {
	s := &scanner{s: string(data)}
	*e = Event{}
	s.object(func(key string) int { return e.scan(s, key) })
	if s.end(); !s.off {
		return nil
	}
	*e = Event{}
	return json.Unmarshal(data, e)
}

func (e *Event) scan(s *scanner, key string) int {
	switch key {
	case "id":
		e.ID = s.string()
		return 0
	case "time":
		e.Time = s.time()
		return 1
	case "tenant":
		e.Tenant = s.string()
		return 2
	case "status":
		e.Status = Status(s.string())
		return 3
	case "provider":
		e.Provider = s.string()
		return 4
	case "detail":
		e.Detail = s.string()
		return 5
	case "messages":
		e.Messages = make([]EventMessage, 0, s.atMost(100, MaxEventMessages))
		s.array(func() {
			e.Messages = append(e.Messages, EventMessage{})
			m := &e.Messages[len(e.Messages)-1]
			s.object(func(key string) int { return m.scan(s, key) })
		})
		return 6
	}
	return -1
}

func (m *EventMessage) scan(s *scanner, key string) int {
	switch key {
	case "id":
		m.ID = s.string()
		return 0
	case "envelope_id":
		m.EnvelopeID = s.string()
		return 1
	case "index":
		i := s.int()
		m.Index = &i
		return 2
	case "to":
		m.To = s.string()
		return 3
	case "ref":
		m.Ref = s.string()
		return 4
	case "traceparent":
		m.Traceparent = s.string()
		return 5
	case "provider_message_id":
		m.ProviderMessageID = s.string()
		return 6
	case "segments":
		m.Segments = s.int()
		return 7
	case "attempts":
		m.Attempts = s.int()
		return 8
	case "replay_of":
		m.ReplayOf = s.string()
		return 9
	case "cost":
		m.Cost = s.string()
		return 10
	case "operator":
		m.Operator = s.string()
		return 11
	case "error":
		m.Error = new(EventError)
		s.object(func(key string) int { return m.Error.scan(s, key) })
		return 12
	}
	return -1
}

func (e *EventError) scan(s *scanner, key string) int {
	switch key {
	case "code":
		e.Code = s.string()
		return 0
	case "provider_code":
		e.ProviderCode = s.string()
		return 1
	case "detail":
		e.Detail = s.string()
		return 2
	}
	return -1
}

// AppendEvent appends the JSON of e to b, byte for byte as encoding/json writes
// it. Only a time after the year 9999 differs: it is written empty, which no
// reader takes.
func AppendEvent(b []byte, e *Event) []byte {
	b = append(slices.Grow(b, 192+256*len(e.Messages)), '{')
	b = appendString(appendKey(b, "id"), e.ID)
	b = appendTime(b, "time", e.Time)
	b = appendString(appendKey(b, "tenant"), e.Tenant)
	b = appendString(appendKey(b, "status"), string(e.Status))
	b = appendText(b, "provider", e.Provider)
	b = appendText(b, "detail", e.Detail)
	b = appendKey(b, "messages")
	if e.Messages == nil {
		return append(b, "null}"...)
	}
	b = append(b, '[')
	for i := range e.Messages {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendEventMessage(b, &e.Messages[i])
	}
	return append(b, ']', '}')
}

func appendEventMessage(b []byte, m *EventMessage) []byte {
	b = append(b, '{')
	b = appendText(b, "id", m.ID)
	b = appendText(b, "envelope_id", m.EnvelopeID)
	if m.Index != nil {
		b = strconv.AppendInt(appendKey(b, "index"), int64(*m.Index), 10)
	}
	b = appendText(b, "to", m.To)
	b = appendText(b, "ref", m.Ref)
	b = appendText(b, "traceparent", m.Traceparent)
	b = appendText(b, "provider_message_id", m.ProviderMessageID)
	b = appendCount(b, "segments", m.Segments)
	b = appendCount(b, "attempts", m.Attempts)
	b = appendText(b, "replay_of", m.ReplayOf)
	b = appendText(b, "cost", m.Cost)
	b = appendText(b, "operator", m.Operator)
	if e := m.Error; e != nil {
		b = append(appendKey(b, "error"), '{')
		b = appendString(appendKey(b, "code"), e.Code)
		b = appendText(b, "provider_code", e.ProviderCode)
		b = appendText(b, "detail", e.Detail)
		b = append(b, '}')
	}
	return append(b, '}')
}
