package smsscheduler_test

import (
	"fmt"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// TestFind holds every status from 10 to 39, and beyond.
func TestFind(t *testing.T) {
	t.Parallel()
	for status := range 60 {
		want, final := providers.ReportUnknown, false
		switch {
		case status >= 10 && status <= 12:
			want = providers.ReportPending
		case status == 13:
			want, final = providers.ReportDelivered, true
		case status >= 20 && status <= 39:
			want, final = providers.ReportUndelivered, true
		}
		g := &gateway{status: 200, answer: fmt.Sprintf(`[{"id": 1, "phone_number": "+33612345678", "status": %d}]`, status)}
		reports, done, err := find(t, account(t, g), "123456")
		if err != nil || len(reports) != 1 || reports[0].Status != want || done != final || reports[0].OptOut != (status == 26) {
			t.Errorf("status %d: %+v, done %v, %v; want %v, %v", status, reports, done, err, want, final)
		}
	}
	for _, answer := range []string{`{}`, `null`, `"x"`, `[1]`, ``, `[{"status": {}}]`} {
		reports, done, err := find(t, account(t, &gateway{status: 200, answer: answer}), "1")
		if err == nil || done {
			t.Errorf("%s: %v, done %v, want an error", answer, reports, done)
		}
	}
	reports, done, err := find(t, account(t, &gateway{status: 200, answer: `[]`}), "1")
	if err != nil || done || len(reports) != 0 {
		t.Errorf("nothing yet: %v, done %v, %v", reports, done, err)
	}
	for _, id := range []string{"", "x", "1/../../sms/1", "-1", "1e3"} {
		g := &gateway{}
		if _, _, err := find(t, account(t, g), id); err == nil || g.calls != 0 {
			t.Errorf("id %q: %v after %d requests, want an error before any", id, err, g.calls)
		}
	}
}

// TestFold: what several parts of one number say together, in any order.
func TestFold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		parts [2]string
		want  providers.ReportStatus
		code  string
		done  bool
	}{
		{[2]string{"13", "13"}, providers.ReportDelivered, "13", true},
		{[2]string{"13", "12"}, providers.ReportPending, "12", false},
		{[2]string{"13", "99"}, providers.ReportUnknown, "99", false},
		{[2]string{"13", "31"}, providers.ReportUndelivered, "31", true},
		{[2]string{"11", "20"}, providers.ReportUndelivered, "20", false},
	} {
		for _, format := range []string{
			`[{"phone_number": "+33612345678", "status": %s}, {"phone_number": "33612345678", "status": %s}]`,
			`[{"phone_number": "+33612345678", "status": %[2]s}, {"phone_number": "+33612345678", "status": %[1]s}]`,
		} {
			answer := fmt.Sprintf(format, c.parts[0], c.parts[1])
			reports, done, err := find(t, account(t, &gateway{status: 200, answer: answer}), "1")
			if err != nil || len(reports) != 1 || reports[0].Status != c.want || reports[0].Code != c.code || done != c.done {
				t.Errorf("%s: %+v, done %v, %v", answer, reports, done, err)
			}
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add(200, []byte(`[{"id": 123456, "phone_number": "+33612345678", "status": 13}]`))
	f.Add(200, []byte(`[{"phone_number": 33612345678, "status": "31"}, {}, {"status": 13}]`))
	f.Add(404, []byte(``))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 {
			return
		}
		reports, done, err := find(t, account(t, &gateway{status: status, answer: string(body)}), "1")
		seen := map[string]bool{}
		for _, r := range reports {
			if r.To == "" || seen[r.To] || len(r.Code) > 64 {
				t.Fatalf("one report for each number: %+v", reports)
			}
			seen[r.To] = true
			if done && r.Status != providers.ReportDelivered && r.Status != providers.ReportUndelivered {
				t.Fatalf("done with %+v", r)
			}
		}
		if err != nil && (done || reports != nil) {
			t.Fatalf("reports beside an error: %v", err)
		}
	})
}
