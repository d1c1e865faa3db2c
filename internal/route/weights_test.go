package route

import (
	"fmt"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
)

func TestWeightsShareNumbersOut(t *testing.T) {
	t.Parallel()
	table := New([]Rule{{Prefix: "+", Accounts: []string{"a", "b", "c"}, Weights: []int{6, 3, 1}}})
	first := map[string]int{}
	const n = 20_000
	for i := range n {
		m := &providers.Message{To: fmt.Sprintf("+2547%08d", i*37)}
		got, err := table.Choose(m, Want{}, func(string, *providers.Message) error { return nil })
		if err != nil || len(got) != 3 {
			t.Fatalf("%v, %v", got, err)
		}
		again, _ := table.Choose(m, Want{}, func(string, *providers.Message) error { return nil })
		if fmt.Sprint(again) != fmt.Sprint(got) {
			t.Fatalf("%s went %v, then %v", m.To, got, again)
		}
		first[got[0]]++
	}
	for account, share := range map[string]float64{"a": 0.6, "b": 0.3, "c": 0.1} {
		if got := float64(first[account]) / n; got < share-0.02 || got > share+0.02 {
			t.Errorf("%s came first for %.1f%% of the numbers, want %.0f%%", account, got*100, share*100)
		}
	}
}
