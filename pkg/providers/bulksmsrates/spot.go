package bulksmsrates

import (
	"encoding/base64"
	"encoding/json"
	"math/bits"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// What a page of a look-up asks.
const (
	stepOne      = "one"      // the message, by its id
	stepCampaign = "campaign" // the batch's progress
	stepLog      = "log"      // the batch's messages
	stepProbe    = "probe"    // a number of the batch
)

const (
	maxCursor = 1 << 10  // bytes of a gateway's cursor
	maxSpot   = 16 << 10 // bytes of ours
)

// spot is where a look-up has got to. It travels in Found.Cursor, so that pages
// need no memory of ours.
type spot struct {
	Step     string `json:"s"`
	Campaign string `json:"c,omitempty"`
	Page     string `json:"p,omitempty"` // the gateway's cursor
	Pages    int    `json:"n,omitempty"` // read
	Probe    int    `json:"i,omitempty"`
	Others   int    `json:"o,omitempty"` // of the batch, but no longer open
	Seen     set    `json:"m,omitempty"` // of Query.Messages
}

// readSpot returns where to begin, or to go on.
func readSpot(q *providers.Query) (s spot, ok bool) {
	if q.Cursor == "" {
		switch {
		case len(q.ProviderIDs) > 0 && q.Size <= 1:
			return spot{Step: stepOne}, true
		case len(q.ProviderIDs) > 0 && q.Size > pageSize:
			return spot{Step: stepCampaign, Campaign: q.ProviderIDs[0]}, true
		case len(q.ProviderIDs) > 0:
			return spot{Step: stepLog, Campaign: q.ProviderIDs[0]}, true
		}
		return spot{Step: stepProbe}, true
	}
	raw, err := base64.RawURLEncoding.DecodeString(q.Cursor)
	if err != nil || len(raw) > maxSpot || json.Unmarshal(raw, &s) != nil {
		return s, false
	}
	switch s.Step {
	case stepProbe:
		return s, s.Probe >= 0 && s.Probe < len(q.Messages)
	case stepOne:
		return s, len(q.ProviderIDs) > 0
	case stepCampaign, stepLog:
		return s, s.Campaign != "" && s.Pages >= 0
	}
	return s, false
}

// String returns s as a cursor.
func (s *spot) String() string {
	raw, err := json.Marshal(s)
	if err != nil { // strings, numbers and bytes always can
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// set is a set of small numbers, a bit each.
type set []byte

func (s set) has(i int) bool { return i/8 < len(s) && s[i/8]&(1<<(i%8)) != 0 }

func (s *set) add(i int) {
	for i/8 >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[i/8] |= 1 << (i % 8)
}

func (s set) count() (n int) {
	for _, b := range s {
		n += bits.OnesCount8(b)
	}
	return n
}
