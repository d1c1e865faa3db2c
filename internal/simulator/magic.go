package simulator

import "time"

// word is what a report says, in our terms; each API has its own word for it.
type word uint8

const (
	delivered word = iota
	undelivered
	expired
	unheardOf // a word that the document does not have
	// SMS Scheduler takes these and cancels them, told by a look-up only.
	noCredits
	blocked
	gatewayError
)

// Why a single recipient is refused.
const (
	refusedInvalid   = "invalid_number"
	refusedOptOut    = "opted_out"
	refusedBlacklist = "blacklisted"
	refusedGateway   = "gateway_failed"
	refusedUnnamed   = "unnamed" // the whole request is, and nobody is told for whose sake
)

// plan is what becomes of one recipient.
type plan struct {
	refuse    string // refused by the API, for this reason
	word      word   // what its report says
	silent    bool   // it never gets further than sent
	lost      bool   // its report is not sent, though a look-up knows
	early     bool   // its report overtakes the answer
	twice     bool
	corrected bool // reported undelivered, then delivered
	slow      bool // its report takes ten times as long
	late      time.Duration
	then      string // BulkSMSRates: an event that follows, or the fate of a campaign with it
}

// What may follow at BulkSMSRates.
const (
	thenOptOut     = "opt_out"
	thenLowBalance = "balance.low"
	thenFailed     = "campaign.failed"
	thenAnswers    = "whatsapp.message"
	thenRejected   = "rejected"
)

// magicBase: a number is magic when its last seven digits are 9990001 to
// 9990018. Fewer digits would hit the documents' own examples (+447700900001)
// and every list of numbers that counts upwards.
const magicBase = 9990000

// magic returns the fate of a number; docs/simulator.md has the same table.
func magic(number uint64) plan {
	switch number%10_000_000 - magicBase {
	case 1:
		return plan{refuse: refusedInvalid}
	case 2:
		return plan{word: undelivered}
	case 3:
		return plan{silent: true}
	case 4:
		return plan{twice: true}
	case 5:
		return plan{early: true}
	case 6:
		return plan{refuse: refusedOptOut}
	case 7:
		return plan{slow: true}
	case 8:
		return plan{word: expired}
	case 9:
		return plan{word: unheardOf}
	case 10:
		return plan{word: undelivered, corrected: true}
	case 11:
		return plan{refuse: refusedGateway}
	case 12:
		return plan{refuse: refusedBlacklist}
	case 13:
		return plan{refuse: refusedUnnamed}
	case 14:
		return plan{then: thenOptOut}
	case 15:
		return plan{then: thenLowBalance}
	case 16:
		return plan{then: thenFailed}
	case 17:
		return plan{then: thenAnswers}
	case 18:
		return plan{then: thenRejected}
	}
	return plan{}
}
