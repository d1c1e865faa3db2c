package simulator

import (
	"hash/maphash"
	"maps"
	"strconv"
	"time"
)

// Summary adds up the ledger for one type.
type Summary struct {
	Requests         int            `json:"requests"`          // all, look-ups and refused ones included
	AcceptedRequests int            `json:"accepted_requests"` // those that took a message
	AcceptedMessages int            `json:"accepted_messages"`
	RefusedMessages  int            `json:"refused_messages"` // refused one by one within a request
	Distinct         int            `json:"distinct"`         // pairs of number and text among the accepted
	Duplicates       int            `json:"duplicates"`       // accepted minus distinct
	MaxPerSecond     int            `json:"max_per_second"`   // most requests in any half-open second
	Limit            int            `json:"limit"`            // enforced; 0: none
	Violations       map[string]int `json:"violations"`       // requests over the limit, by reading: sliding, clock_second, first_hit, token_bucket
	Statuses         map[string]int `json:"statuses"`         // requests by status answered; "0": none
	BatchSizes       map[string]int `json:"batch_sizes"`      // accepted requests by their number of recipients
	Reasons          map[string]int `json:"reasons"`          // requests refused, by reason
	Reports          ReportCounts   `json:"reports"`
}

// ReportCounts adds up the callbacks of one type.
type ReportCounts struct {
	Planned  int            `json:"planned"`  // callbacks that were to be sent
	Sent     int            `json:"sent"`     // attempts
	Answered map[string]int `json:"answered"` // attempts by status answered; "error": none
	Done     int            `json:"done"`     // callbacks that got a 2xx
	GivenUp  int            `json:"given_up"` // callbacks that never did, or had nowhere to go any more
	Pending  int            `json:"pending"`  // callbacks still due
}

// Summary adds up what is known of typ now.
func (l *Ledger) Summary(typ string) Summary {
	s := Summary{MaxPerSecond: l.MaxInWindow(typ, time.Second), Statuses: map[string]int{}, BatchSizes: map[string]int{}, Reasons: map[string]int{}}
	entries := l.snapshot(typ)
	var taken []*batch
	l.mu.Lock()
	s.Requests = len(entries)
	for _, e := range entries {
		s.Statuses[strconv.Itoa(e.status)]++
		if e.reason != "" {
			s.Reasons[e.reason]++
		}
		if e.acceptedCount > 0 {
			s.AcceptedRequests++
			taken = append(taken, e.batch)
			s.BatchSizes[strconv.Itoa(len(e.batch.recipients))]++
		}
		s.AcceptedMessages += e.acceptedCount
		s.RefusedMessages += e.refusedCt
	}
	if w := l.windows[typ]; w != nil {
		s.Limit, s.Violations = w.limit, maps.Clone(w.violations)
	}
	if r := l.reports[typ]; r != nil {
		s.Reports = *r
		s.Reports.Answered = maps.Clone(r.Answered)
		s.Reports.Pending = max(0, r.Planned-r.Done-r.GivenUp)
	}
	l.mu.Unlock()
	s.Distinct = distinct(taken)
	s.Duplicates = s.AcceptedMessages - s.Distinct
	return s
}

// distinct counts pairs of number and text by a 64-bit hash: of a million, two
// fall together with a chance of 1 in 37 million.
func distinct(batches []*batch) int {
	seed := maphash.MakeSeed()
	seen := map[uint64]struct{}{}
	for _, b := range batches {
		for i := range b.recipients {
			if r := &b.recipients[i]; r.refused == "" {
				seen[maphash.Comparable(seed, [2]string{plain(r.number), r.text})] = struct{}{}
			}
		}
	}
	return len(seen)
}

func (l *Ledger) report(typ string, change func(*ReportCounts)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l.reports[typ])
	select {
	case l.counted <- struct{}{}:
	default:
	}
}
