package dispatch

import (
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/idempotency"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// action is what follows once a message's outcome is in the journal.
type action int

const (
	done  action = iota // nothing: it is closed
	again               // back to the front of its lane
	later               // back to the queue after a delay
	move                // to the next account of its route
	dead                // a dead letter for operators, then closed or held
	renew               // one more try after waiting for evidence
)

// verdict is what becomes of a message after an attempt.
type verdict struct {
	to     idempotency.State
	status envelope.Status // told by an event; empty: nothing to tell
	code   string          // of the event's error
	then   action
}

// facts are what a verdict depends on beside the class.
type facts struct {
	single  bool // the class is this message's own, not the whole request's
	hasNext bool // the route has another account
	retry   bool // the policy asks for one retry of an uncertain message, and it had none
}

// decide is the only place where a class of answer turns into what happens. A
// bare hand-back to the queue is never used: it would spin.
func decide(c providers.Class, f facts) verdict {
	switch c {
	case providers.Accepted:
		return verdict{idempotency.Closed, envelope.Submitted, "", done}
	case providers.Rejected:
		return verdict{idempotency.Closed, envelope.Failed, "rejected", dead}
	case providers.RejectedHere:
		if f.hasNext {
			return verdict{idempotency.Free, "", "", move}
		}
		return verdict{idempotency.Closed, envelope.Failed, "rejected", dead}
	case providers.Throttled, providers.Unavailable, providers.Misconfigured:
		if f.single {
			return verdict{idempotency.Free, "", "", later}
		}
		return verdict{idempotency.Free, "", "", again}
	default: // Uncertain, and whatever is not known to be anything else
		if f.retry {
			return verdict{idempotency.Unsettled, envelope.Uncertain, "uncertain", renew}
		}
		return verdict{idempotency.Unsettled, envelope.Uncertain, "uncertain", dead}
	}
}

// retries reports whether an uncertain message gets its one retry: envelope
// before account before the priority's default, and never a second time.
func retries(p *envelope.Piece, account envelope.Policy, released bool) bool {
	if released {
		return false
	}
	for _, policy := range []envelope.Policy{p.OnUncertain, account} {
		if policy != "" {
			return policy == envelope.Retry
		}
	}
	return p.Priority == envelope.High
}
