package simulator

import (
	"strings"
	"testing"
)

// No body makes a gateway panic, or take a message without saying so.
func FuzzAnswer(f *testing.F) {
	paths := []string{"/send-sms", "/send_sms", "/sms/send", "/sms/send", "/sms"}
	for i, typ := range Types() {
		s := New(Options{})
		f.Add(i, one(s, typ).body)
	}
	f.Add(1, `<sms><recipients/></sms>`)
	f.Add(2, `{"recipients":[{"to":"+447700900001"}],"from":"A","body":"{{"}`)
	f.Fuzz(func(t *testing.T, which int, body string) {
		typ := Types()[uint(which)%5]
		s := New(Options{})
		q := request{typ: typ, path: paths[uint(which)%5], body: body}
		if typ == SMSBox && strings.HasPrefix(body, "<") {
			q.header = map[string][]string{"Content-Type": {"application/xml"}}
		}
		w := q.do(s)
		if taken := s.Ledger().Messages(typ); taken > 0 && w.Code != 200 {
			t.Errorf("%s answered %d and took %d", typ, w.Code, taken)
		}
		if len(s.Ledger().Entries()) != 1 {
			t.Error("not in the ledger")
		}
	})
}
