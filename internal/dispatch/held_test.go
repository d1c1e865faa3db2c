package dispatch

import (
	"slices"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
)

// A queue that is full is tried again later each time, up to a minute. Whatever else
// hands a piece back is over soon.
func TestAwayLongerWhileAQueueIsFull(t *testing.T) {
	t.Parallel()
	var full []time.Duration
	for n := range uint64(8) {
		h := held{msg: &bus.Msg{Delivered: n + 1}}
		if got := h.away(); got != time.Second {
			t.Errorf("handed out %d times: away for %v", n+1, got)
		}
		h.crowded = true
		full = append(full, h.away()/time.Second)
	}
	if want := []time.Duration{2, 4, 8, 16, 32, 60, 60, 60}; !slices.Equal(full, want) {
		t.Errorf("full: away for %d s, want %d", full, want)
	}
}
