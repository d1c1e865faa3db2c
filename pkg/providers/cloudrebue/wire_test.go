package cloudrebue

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// FuzzAnswers: what the quick reader takes, it reads as encoding/json does.
func FuzzAnswers(f *testing.F) {
	for _, text := range []string{
		`[{"status":true,"data":{"correlator":"e-1","phone":"254700000001","uniqueId":"u1"}}]`, `[ ]`, `[]x`, `[{}]`, `[null]`,
		"[\n {\"status\": false, \"message\": \"no\", \"code\": 7, \"x\": \"a\\/b\\u00e9\", \"data\": null}]", `[{"status":null,"data":{}}]`,
		`[{"Status":true}]`, `[{"status":true,"status":false}]`, `[{"data":{"uniqueid":1}}]`, `[{"data":{"uniqueId":01}}]`, `[{"data":{"uniqueId":-1.5}}]`,
		`[{"data":{"sms_units":2,"operator":true,"message":"\u2603 \q"}}]`, `[{"status":1}]`, `[{"data":"x"}]`, `[{"x":{"y":1}}]`, `[{"status":true,}]`, `{"status":true}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, ok := scan(body)
		if !ok {
			return
		}
		var want []answer
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%q: %s", body, d)
		}
	})
}

// FuzzReport: so does that of reports.
func FuzzReport(f *testing.F) {
	for _, text := range []string{
		`{"phone":"254700000001","correlator":"e-1","uniqueId":12,"deliveryStatus":"DeliveredToTerminal","deliveryTime":"2026-01-02 03:04:05"}`,
		`{}`, `null`, `[]`, `{"phone":null,"x":"\u00e9"}`, `{"Phone":"1"}`, `{"phone":1,"phone":2}`, `{"phone":{}}`, `{"correlator":-1.5}`, `{"uniqueId":"a"}x`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, want report
		if !got.scan(body) {
			return
		}
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%q: %s", body, d)
		}
	})
}

func TestUsualReportsAreReadQuickly(t *testing.T) {
	t.Parallel()
	var got report
	if !got.scan([]byte(`{"phone":"254700000001","correlator":"e-1","uniqueId":12,"deliveryStatus":"DeliveredToTerminal","deliveryTime":"2026-01-02 03:04:05"}`)) || got.UniqueID != "12" {
		t.Errorf("%+v", got)
	}
}

func TestUsualAnswersAreReadQuickly(t *testing.T) {
	t.Parallel()
	one := `{"status":true,"message":"queued","data":{"correlator":"01M-0","phone":"254700000001","uniqueId":12,"message":"Hi \"you\" \u00e9","cost":"KES 0.8"}}`
	if got, ok := scan([]byte("[" + one + ", " + one + "]")); !ok || len(got) != 2 || got[1].Data.UniqueID != "12" {
		t.Errorf("%+v, %v", got, ok)
	}
}

func TestRequestsAreWrittenAsTheStandardWrites(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.StringN(0, 8, -1), rapid.SampledFrom([]string{"", `a"b\c`, "<&>", "\u2028", "\x7f\n", "\xff", strings.Repeat("é", 80)}))
	one := rapid.Custom(func(t *rapid.T) item {
		return item{text.Draw(t, "a"), text.Draw(t, "b"), text.Draw(t, "c"), text.Draw(t, "d"), text.Draw(t, "e"), text.Draw(t, "f")}
	})
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.SliceOfN(one, 1, 4).Draw(t, "items")
		var request any = items
		if len(items) == 1 {
			request = items[0]
		}
		want, err := httpapi.JSON(request)
		if err != nil {
			t.Fatal(err)
		}
		if got := write(items); string(got) != string(want) {
			t.Fatalf("%s\n%s", got, want)
		}
	})
}
