package journal_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

func TestOutcomeDetailIsWrittenAsTheStandardReadsIt(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.Just(""), rapid.StringN(0, 6, -1), rapid.SampledFrom([]string{`a"b`, "<&>", "\u2028", "é\n"}))
	result := rapid.Custom(func(t *rapid.T) journal.MessageResult {
		return journal.MessageResult{
			Status: envelope.Status(text.Draw(t, "s")), ProviderID: text.Draw(t, "id"), Code: text.Draw(t, "c"), ProviderCode: text.Draw(t, "pc"),
			Detail: text.Draw(t, "d"), Taken: rapid.IntRange(0, 3).Draw(t, "n"), Bill: rapid.IntRange(0, 3).Draw(t, "b"),
		}
	})
	bill := rapid.Custom(func(t *rapid.T) journal.Bill {
		return journal.Bill{Segments: rapid.IntRange(0, 3).Draw(t, "n"), Cost: text.Draw(t, "k"), Operator: text.Draw(t, "o")}
	})
	rapid.Check(t, func(t *rapid.T) {
		d := journal.OutcomeDetail{
			Time: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "sec"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC(), Default: result.Draw(t, "all"),
			Each: rapid.MapOfN(rapid.Uint32(), result, 0, 12).Draw(t, "each"), Bills: rapid.SliceOfN(bill, 0, 3).Draw(t, "bills"),
		}
		want, err := json.Marshal(&d)
		if err != nil {
			t.Fatal(err)
		}
		var read, standard journal.OutcomeDetail
		data := d.Append(nil)
		if err := json.Unmarshal(data, &read); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if err := json.Unmarshal(want, &standard); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(standard, read); diff != "" {
			t.Fatalf("%s\n%s\n%s", data, want, diff)
		}
		if len(d.Each) < 2 && string(data) != string(want) {
			t.Fatalf("%s\n%s", data, want)
		}
	})
}
