package journal

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// OutcomeDetail is what an outcome record tells the outside: everything that
// events and report matching need beside the messages themselves.
type OutcomeDetail struct {
	Time time.Time `json:"time"`
	// Default holds for every message of the intent that Each does not name. A
	// result without a Status tells nothing (the message was freed for a retry).
	Default MessageResult            `json:"all"`
	Each    map[uint32]MessageResult `json:"each,omitempty"` // by position in the intent
	// Bills are what the gateway told of its own accounting, each once: a batch has
	// few that differ, and results name theirs by its place.
	Bills []Bill `json:"b,omitempty"`
}

// Bill is what a gateway told of a message's price. Each of its values is zero
// where it did not tell.
type Bill struct {
	Segments int    `json:"n,omitempty"`
	Cost     string `json:"k,omitempty"` // with its unit
	Operator string `json:"o,omitempty"`
}

// MessageResult is the outcome of one message.
type MessageResult struct {
	Status       envelope.Status `json:"s,omitempty"`
	ProviderID   string          `json:"id,omitempty"`
	Code         string          `json:"c,omitempty"`  // ours
	ProviderCode string          `json:"pc,omitempty"` // the gateway's
	Detail       string          `json:"d,omitempty"`
	Taken        int             `json:"n,omitempty"` // of the whole batch, of which nobody is named; see providers.Result
	Bill         int             `json:"b,omitempty"` // place in OutcomeDetail.Bills, counted from 1; 0: none
}

// Bill returns what the gateway told of a result's price.
func (d *OutcomeDetail) Bill(r MessageResult) Bill {
	if r.Bill < 1 || r.Bill > len(d.Bills) {
		return Bill{}
	}
	return d.Bills[r.Bill-1]
}

// maxBillsSearched bounds the search for an equal bill: prices that all differ
// gain nothing by it.
const maxBillsSearched = 64

// AddBill returns what a MessageResult names b by.
func (d *OutcomeDetail) AddBill(b Bill) int {
	if b == (Bill{}) {
		return 0
	}
	for i := len(d.Bills); i > 0 && i > len(d.Bills)-maxBillsSearched; i-- {
		if d.Bills[i-1] == b {
			return i
		}
	}
	d.Bills = append(d.Bills, b)
	return len(d.Bills)
}

// Short is what became of the messages, without the gateway's ids, words and prices.
func (d *OutcomeDetail) Short() *OutcomeDetail {
	bare := func(r MessageResult) MessageResult {
		return MessageResult{Status: r.Status, Code: r.Code, Taken: r.Taken}
	}
	out := &OutcomeDetail{Time: d.Time, Default: bare(d.Default)}
	for pos, r := range d.Each {
		if b := bare(r); b != out.Default {
			if out.Each == nil {
				out.Each = map[uint32]MessageResult{}
			}
			out.Each[pos] = b
		}
	}
	return out
}

// At returns the result at a position.
func (d *OutcomeDetail) At(pos uint32) MessageResult {
	if len(d.Each) > 0 {
		if r, ok := d.Each[pos]; ok {
			return r
		}
	}
	return d.Default
}

// Outcome reads the detail of an outcome record. One without a detail tells nothing.
func Outcome(r *idempotency.Record) (OutcomeDetail, error) {
	var d OutcomeDetail
	if len(r.Detail) == 0 {
		return d, nil
	}
	if err := json.Unmarshal(r.Detail, &d); err != nil {
		return d, fmt.Errorf("journal: outcome detail: %w", err)
	}
	return d, nil
}

// BatchID names the attempt of the intent at seq, in a journal of the given
// epoch. It is the client reference that gateways see.
func BatchID(epoch int64, seq uint64) string {
	return "t" + strconv.FormatInt(epoch/int64(time.Second), 36) + "-" + strconv.FormatUint(seq, 36)
}

// ParseBatchID returns the intent's sequence, if id belongs to a journal of the
// given epoch.
func ParseBatchID(epoch int64, id string) (seq uint64, ok bool) {
	num, found := strings.CutPrefix(id, "t"+strconv.FormatInt(epoch/int64(time.Second), 36)+"-")
	if !found {
		return 0, false
	}
	seq, err := strconv.ParseUint(num, 36, 64)
	return seq, err == nil && BatchID(epoch, seq) == id
}

// Member is one message of an intent as events tell of it.
type Member struct {
	envelope.EventMessage
	Tenant  string
	Channel envelope.Channel
	Found   bool // false: its copy is gone from the queue; only the key is known
}

// Members reads back the messages of an intent, in its order, from the copies
// that lie in the account's queue. Nothing is stored for this beside the spans.
// What lies there by now may be another's, of a queue that was made anew: a copy
// counts if it is of the very submission.
func Members(ctx context.Context, b *bus.Bus, intent *idempotency.Record) ([]Member, error) {
	var out []Member
	queue := bus.QueueStream(intent.Account)
	for _, s := range intent.Spans {
		at, run := s.At, max(1, int(s.Run))
		if at == 0 {
			at = s.Seq
		}
		start := len(out)
		out = append(out, make([]Member, s.Len())...)
		err := b.Contents(ctx, queue, at, run, func(m *bus.Msg) { // pieces are never packed
			if m.Seq < at || m.Seq >= at+uint64(run) {
				return
			}
			var p envelope.Piece
			if envelope.DecodePiece(m.Data, &p) != nil || origin(m, &p) != (envelope.Origin{Stream: s.Stream, Epoch: s.Epoch, Seq: s.Seq + m.Seq - at}) {
				return
			}
			if run > 1 {
				fill(out[start+int(m.Seq-at):][:1], &p, 0)
				return
			}
			fill(out[start:], &p, int(s.First))
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// origin is where a copy's submission was first stored.
func origin(m *bus.Msg, p *envelope.Piece) envelope.Origin {
	if p.Origin != nil {
		return *p.Origin
	}
	return envelope.Origin{Stream: m.Stream, Epoch: m.Epoch, Seq: m.Seq}
}

// fill writes the messages of p with indices from first on into out.
func fill(out []Member, p *envelope.Piece, first int) {
	for i := range p.Messages {
		m := &p.Messages[i]
		if at := m.Index - first; at >= 0 && at < len(out) {
			out[at] = Member{EventMessage: EventMessage(p, m), Tenant: p.Tenant, Channel: p.Channel, Found: true}
		}
	}
}

// EventMessage returns what events tell of a message, before any outcome.
func EventMessage(p *envelope.Piece, m *envelope.Message) envelope.EventMessage {
	ref := m.Ref
	if ref == "" {
		ref = p.Ref
	}
	return envelope.EventMessage{
		ID: envelope.MessageID(p.ID, m.Index), EnvelopeID: p.ID, To: m.To, Ref: ref, Traceparent: p.Traceparent,
		Segments: m.Segments, Attempts: p.Attempts, ReplayOf: p.ReplayOf,
	}
}
