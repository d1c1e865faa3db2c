package dispatch

import (
	"time"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
)

// mop declares uncertain what dead owners left.
func (p *process) mop(luck uint8) bool {
	for i := range p.tail {
		r := p.w.log[i]
		if r.Kind != idempotency.Intent || r.owner == p.owner {
			continue
		}
		held := 0
		for _, m := range r.messages {
			if s := p.view().of[m]; s.State == idempotency.Taken && s.Intent == uint64(r.seq) {
				held++
			}
		}
		open := idempotency.OpenIntent{Seq: uint64(r.seq), Owner: r.owner, Taken: held, Lease: time.Duration(leaseMs) * time.Millisecond}
		at, now := time.UnixMilli(p.readAt[i]), time.UnixMilli(p.mono())
		if p.w.broken.noLease && held > 0 || journal.Overdue(open, at, now, p.owner) {
			p.append(idempotency.Record{
				Kind: idempotency.Outcome, Account: r.Account, Intent: uint64(r.seq),
				Runs: []idempotency.Run{{N: uint32(len(r.messages)), To: idempotency.Unsettled}},
			}, r.messages, luck)
			return true
		}
	}
	return false
}

// stray declares intents not sent that nobody waited for.
func (p *process) stray() bool {
	if len(p.strays) == 0 {
		return false
	}
	r := p.strays[0]
	p.strays = p.strays[1:]
	p.append(idempotency.Record{
		Kind: idempotency.Outcome, Account: r.Account, Intent: uint64(r.seq), Runs: []idempotency.Run{{N: uint32(len(r.messages)), To: idempotency.Free}},
	}, r.messages, 0)
	return true
}

// retell tells what was not told in time, whoever wrote it.
func (p *process) retell(after ms) (moved bool) {
	if p.w.broken.forgetTold {
		return false
	}
	for i := range p.tail {
		r := p.w.log[i]
		if !r.toldOut && p.mono()-p.readAt[i] >= after {
			moved = true
			p.tellRecord(r)
		}
	}
	return moved
}

// tellRecord publishes the events of one record.
func (p *process) tellRecord(r *entry) {
	if r.toldOut {
		return
	}
	r.toldOut = true
	for n, at := range r.effect.Freed {
		p.tellClosed(r.messages[at], r.effect.Reasons[n])
	}
	switch r.Kind {
	case idempotency.Close:
		for i, m := range r.messages {
			if !lostAt(r, i) {
				p.tellClosed(m, r.Reason)
			}
		}
	case idempotency.Supersede:
		if len(r.effect.Superseded) > 0 {
			p.tellClosed(0, "superseded")
		}
	case idempotency.Outcome:
		pos := 0
		for _, run := range r.Runs {
			for range run.N {
				if m := r.messages[pos]; !lostAt(r, pos) && run.To == idempotency.Unsettled {
					p.w.tell(m, envelope.Uncertain)
				} else if !lostAt(r, pos) && run.To == idempotency.Closed {
					if p.w.tell(m, r.status(pos)); r.status(pos) == envelope.Failed {
						p.w.msgs[m].letters++
					}
				}
				pos++
			}
		}
	}
}

func (p *process) tellClosed(m int, reason string) {
	if s, _ := closedAs(reason); s != "" {
		p.w.tell(m, s)
	}
}

// status is what an outcome's detail says of its message: it is in Class here.
func (r *entry) status(pos int) envelope.Status {
	if pos < len(r.Class) && r.Class[pos] == 'f' {
		return envelope.Failed
	}
	return envelope.Submitted
}
