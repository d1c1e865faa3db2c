// Package route chooses the accounts that may carry a message. It is a pure
// function of the routing table, the tenant's rights and the accounts' own
// checks: the same message always takes the same way, so that a submission that
// is handled twice is cut in the same way twice.
package route

import (
	"errors"
	"hash/fnv"
	"slices"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

// Rule sends numbers with a prefix to accounts, tried in order; with Weights,
// each number has one of them first, in these proportions.
type Rule struct {
	Prefix   string // a plus and digits; the plus alone is every number
	Accounts []string
	Weights  []int // one for each account, or none
	Refuse   bool  // no account may carry these numbers, also if the client names one
}

// Table is an immutable set of rules, safe for concurrent use.
type Table struct {
	rules   map[string]Rule // by prefix
	longest int
}

// New builds a table. Of two rules with one prefix the later wins.
func New(rules []Rule) *Table {
	t := &Table{rules: make(map[string]Rule, len(rules))}
	for _, r := range rules {
		t.rules[r.Prefix] = Rule{Accounts: slices.Clone(r.Accounts), Weights: slices.Clone(r.Weights), Refuse: r.Refuse}
		t.longest = max(t.longest, len(r.Prefix))
	}
	return t
}

// Check says whether an account can carry m; nil means it can. It is asked for
// configured and unknown accounts alike.
type Check func(account string, m *providers.Message) error

// Want is what limits the choice beside the number.
type Want struct {
	Provider string   // the account that the client demands, routed or not; empty: the table's
	Allowed  []string // the tenant's accounts; empty: any
}

// Choose returns the accounts to try for m, in order, never an empty list
// without an error. The error is a *envelope.Refusal with code NoRoute, or with
// OptedOut if check says so of any account that it may choose.
func (t *Table) Choose(m *providers.Message, w Want, check Check) ([]string, error) {
	candidates, refused := t.lookup(m.To)
	if refused {
		return nil, envelope.Refuse(envelope.NoRoute, "to", "numbers with this prefix are refused here")
	}
	if w.Provider != "" {
		candidates = []string{w.Provider}
	}
	if len(candidates) == 0 {
		return nil, envelope.Refuse(envelope.NoRoute, "to", "no route begins with this number's prefix")
	}
	detail := "no account of its route is allowed to this tenant"
	var chosen []string
	for _, a := range candidates {
		if len(w.Allowed) > 0 && !slices.Contains(w.Allowed, a) {
			continue
		}
		if err := check(a, m); err != nil {
			if r := (*envelope.Refusal)(nil); errors.As(err, &r) && r.Code == envelope.OptedOut {
				return nil, err // another account would only be a way around it
			}
			detail = "no account of its route can carry it; " + a + ": " + err.Error()
			continue
		}
		chosen = append(chosen, a)
	}
	if chosen == nil {
		return nil, envelope.Refuse(envelope.NoRoute, "to", detail)
	}
	return chosen, nil
}

// lookup returns the accounts of the longest prefix of number, or that its rule
// refuses it.
func (t *Table) lookup(number string) (accounts []string, refused bool) {
	for n := min(t.longest, len(number)); n > 0; n-- {
		if r, ok := t.rules[number[:n]]; ok {
			return r.order(number), r.Refuse
		}
	}
	return nil, false
}

// order lists the rule's accounts for a number. The same number has the same
// first one each time, so that a repeat goes the same way.
func (r Rule) order(number string) []string {
	total := 0
	for _, w := range r.Weights {
		total += w
	}
	if total == 0 {
		return r.Accounts
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(number)) // never fails
	at := int(h.Sum32() % uint32(total))
	for i, w := range r.Weights {
		if at -= w; at < 0 {
			return append([]string{r.Accounts[i]}, slices.Concat(r.Accounts[:i], r.Accounts[i+1:])...)
		}
	}
	return r.Accounts
}
