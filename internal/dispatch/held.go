package dispatch

import (
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/crash"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// held is one piece that the queue handed out to us.
type held struct {
	l      *lane
	msg    *bus.Msg
	p      envelope.Piece
	origin envelope.Origin
	group  string   // what may share a request
	groups []string // of each message, where they differ

	// Guarded by account.mu.
	place   int  // in lane.held
	left    int  // messages that this process still has to deal with
	flying  int  // of these, in a request
	crowded bool // some messages are to go elsewhere, and there is no room or no elsewhere
	foreign bool // some messages are someone else's right now: hand it back at the end
}

// item is one message of a held piece.
type item struct {
	h *held
	i int32
}

func (it item) msg() *envelope.Message { return &it.h.p.Messages[it.i] }

// group is what the message may share a request with.
func (it item) group() string {
	if it.h.groups != nil {
		return it.h.groups[it.i]
	}
	return it.h.group
}

func (it item) key() idempotency.Key {
	o := it.h.origin
	return idempotency.Key{Stream: o.Stream, Epoch: o.Epoch, Seq: o.Seq, Index: uint32(it.msg().Index)}
}

func (it item) placed() idempotency.PlacedKey {
	return idempotency.PlacedKey{Key: it.key(), At: it.h.msg.Seq}
}

// provider returns the message as an adapter sees it.
func (it item) provider() providers.Message {
	return it.as(envelope.MessageID(it.h.p.ID, it.msg().Index))
}

// as is provider for who has the message's id at hand.
func (it item) as(id string) providers.Message {
	m, p := it.msg(), &it.h.p
	out := providers.Message{
		ID: id, To: m.To, From: p.From, Text: p.Text, Segments: m.Segments, ExpiresAt: p.ExpiresAt,
		Channel: providers.Channel(p.Channel), Options: p.Options,
	}
	switch {
	case p.Form != nil:
		out.Template = (*providers.Template)(p.Filled(m))
	case p.Template:
		if out.Variables = m.Variables; out.Variables == nil {
			out.Variables = map[string]string{}
		}
	}
	return out
}

// locate sets where the submission was first stored.
func (h *held) locate() {
	if h.origin = (envelope.Origin{Stream: h.msg.Stream, Epoch: h.msg.Epoch, Seq: h.msg.Seq}); h.p.Origin != nil {
		h.origin = *h.p.Origin
	}
}

// settle ends our hold of a piece: ack, or hand it back if some of its messages
// are someone else's business right now.
func (a *account) settle(h *held) {
	var err error
	if h.foreign {
		err = h.msg.Nak(h.away())
	} else {
		crash.At("dispatch.before-ack")
		err = h.msg.Ack()
	}
	if err != nil { // it comes again; the journal knows what was done
		a.d.Log.Debug("not settled", "account", a.o.Name, "error", err)
	}
}

// away is how long a piece that is handed back stays away: longer each time if it
// cannot go where it should. What is urgent looks again soon.
func (h *held) away() time.Duration {
	switch {
	case !h.crowded:
		return time.Second
	case h.p.Priority == envelope.High:
		return min(time.Second<<min(h.msg.Delivered, 6), urgentAckWait)
	}
	return min(time.Second<<min(h.msg.Delivered, 6), time.Minute)
}

// finished takes messages that were in a request off their pieces, and settles
// the pieces that have none left.
func (a *account) finished(items []item) {
	var over []*held
	a.mu.Lock()
	for _, it := range items {
		h := it.h
		h.flying--
		if h.left--; h.left == 0 {
			h.l.release(h)
			over = append(over, h)
		}
	}
	a.mu.Unlock()
	for _, h := range over {
		a.settle(h)
	}
}

// back puts messages from a request back to the front of their lanes.
func (a *account) back(items []item) {
	if len(items) == 0 {
		return
	}
	a.mu.Lock()
	byLane := map[*lane][]item{}
	for _, it := range items {
		it.h.flying--
		byLane[it.h.l] = append(byLane[it.h.l], it)
	}
	for l, its := range byLane {
		l.items = append(its, l.items...)
	}
	a.mu.Unlock()
	a.signal()
}
