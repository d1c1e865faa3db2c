package bus

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// unread are messages that no client's consumer hands over: without a body and with
// a header Status they look like the server's own remarks. Whoever may publish can
// make one, and a tail would ask for it for ever.
type unread struct{ messages []*Msg }

// Error says what was met.
func (u *unread) Error() string {
	return fmt.Sprintf("bus: %d messages look like remarks of the server", len(u.messages))
}

// mostRemarks are handed over together.
const mostRemarks = 1000

// remarks reads the messages from a sequence on that look like remarks, up to the
// first that does not; nil: there are none. A tail with filters is left alone: it
// may wait for what is far behind.
func (b *Bus) remarks(ctx context.Context, t *Tail, from uint64) *unread {
	s, err := b.stream(ctx, t.Stream)
	if err != nil || len(t.Filters) > 0 {
		return nil
	}
	var found unread
	more := true
	add := func(m *Msg) {
		if more = more && len(m.Data) == 0 && m.Get("Status") != ""; more {
			found.messages = append(found.messages, m)
		}
	}
	if s.CachedInfo().Config.AllowDirect { // read singly, they would look like remarks here too
		_, _, _ = b.rangeOnce(ctx, t.Stream, "", from, mostRemarks, add) // what it has found counts
	} else {
		for more && len(found.messages) < mostRemarks {
			raw, err := s.GetMsg(ctx, from, jetstream.WithGetMsgSubject(">"))
			if err != nil {
				break
			}
			add(&Msg{Subject: raw.Subject, Header: Header(raw.Header), Data: raw.Data, Stream: t.Stream, Seq: raw.Sequence, Time: raw.Time})
			from = raw.Sequence + 1
		}
	}
	if len(found.messages) == 0 {
		return nil
	}
	b.log.Warn("messages look like remarks of the server", "stream", t.Stream, "seq", found.messages[0].Seq, "messages", len(found.messages))
	return &found
}
