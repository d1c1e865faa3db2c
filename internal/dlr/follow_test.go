package dlr

import (
	"testing"
	"time"
)

func TestMatchingHasMoreOfTheTimeTheFurtherBehindItIs(t *testing.T) {
	t.Parallel()
	const took = 10 * time.Millisecond
	for behind, want := range map[time.Duration]time.Duration{
		-time.Second:      15 * took, // another collector's clock
		0:                 15 * took,
		longestBehind / 2: 8 * took,
		longestBehind:     took,
		time.Hour:         took,
	} {
		if got := restAfter(took, behind); got != want {
			t.Errorf("%v behind: rests for %v, want %v", behind, got, want)
		}
	}
}
