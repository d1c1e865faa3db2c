package simulator

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestSMSBoxChange: what is scheduled can be held, rewritten, moved and let go;
// what is sent cannot.
func TestSMSBoxChange(t *testing.T) {
	t.Parallel()
	rec := receive(t, nil)
	s := serve(t, Options{ReportDelay: -1, Rates: map[string]int{SMSBox: 1000}, Callbacks: map[string]string{SMSBox: rec.url}})
	send := func(schedule string) string {
		t.Helper()
		_, _, body, err := s.send(request{typ: SMSBox, path: "/send_sms", body: fmt.Sprintf(`{"source_addr":"INFO","schedule_time":%q,"encoding":0,
			"message":"Hello [{RECEIVERNAME}]","recipients":[{"recipient_name":"Asha","dest_addr":"+22670000001"}]}`, schedule)})
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(at(parse(t, body), "data").(string), "message_id:")
	}
	change := func(want string, pairs ...string) {
		t.Helper()
		q := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			q.Set(pairs[i], pairs[i+1])
		}
		_, _, body, err := s.send(request{typ: SMSBox, method: http.MethodGet, path: "/change_sms_info?" + q.Encode()})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(at(parse(t, body), "code")); got != want {
			t.Errorf("%v: code %s, want %s", pairs, got, want)
		}
	}
	planned := func() int { return s.Ledger().Summary(SMSBox).Reports.Planned }

	later := time.Now().UTC().Add(time.Hour).Format("2006-01-02 15:04")
	id := send(later)
	change("200", "message_id", id, "scheduled_status", "0")
	if n := planned(); n != 0 {
		t.Errorf("%d reports planned on what is suspended", n)
	}
	change("200", "message_id", id, "message", "Bye [{RECEIVERNAME}]", "source_addr", "SHOP")
	for _, bad := range [][]string{
		{"104", "scheduled_status", "2"}, {"117", "schedule_time", "tomorrow"}, {"112", "schedule_time", "2020-01-01 00:00"},
		{"111", "source_addr", "A_B"}, {"110", "message", "\u4f60"}, {"113", "colour", "red"}, {"104"},
	} {
		change(bad[0], append([]string{"message_id", id}, bad[1:]...)...)
	}
	change("200", "message_id", id, "scheduled_status", "1", "schedule_time", "")
	if body := rec.next(t).body; at(parse(t, body), "message_id") != id {
		t.Errorf("report %s, want one on %s", body, id)
	}
	change("403", "message_id", id, "scheduled_status", "0")
	change("403", "message_id", "sms-1", "scheduled_status", "0")
	var last Entry
	for e := range s.Ledger().Each(SMSBox) {
		if len(e.Recipients) > 0 {
			last = e
		}
	}
	if r := last.Recipients[0]; r.Text != "Bye Asha" || r.From != "SHOP" || last.Accepted {
		t.Errorf("the ledger shows %+v", last)
	}
	if n := s.Ledger().Messages(SMSBox); n != 1 {
		t.Errorf("%d messages taken, want 1", n)
	}
}
