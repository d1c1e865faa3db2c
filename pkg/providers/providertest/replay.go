package providertest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
)

func (s Suite) testFixtures(t *testing.T) {
	t.Run("send", func(t *testing.T) { s.testSendFixtures(t) })
	if s.Features.Reports {
		t.Run("report", func(t *testing.T) {
			s.eachFixture(t, "report", ".request.http", s.replayReport)
		})
	}
	if s.Features.Inbound {
		t.Run("inbound", func(t *testing.T) {
			s.eachFixture(t, "inbound", ".request.http", s.replayInbound)
		})
	}
	if s.Features.Find {
		t.Run("find", func(t *testing.T) {
			s.eachFixture(t, "find", ".response.http", s.replayFind)
		})
		t.Run("find unknown status", s.testFindStatus)
	}
	if s.Features.Desk {
		t.Run("desk", s.testDesk)
	}
	if s.Features.Balance {
		t.Run("balance", func(t *testing.T) {
			s.eachFixture(t, "balance", ".response.http", s.replayBalance)
		})
	}
}

func (s Suite) eachFixture(t *testing.T, folder, mark string, run func(*testing.T, fixture)) []fixture {
	t.Helper()
	all := fixtures(t, s.Dir, folder, mark)
	if len(all) == 0 {
		t.Errorf("%s/%s: no fixture *%s", s.Dir, folder, mark)
	}
	for _, f := range all {
		t.Run(f.name(), func(t *testing.T) { run(t, f) })
	}
	return all
}

func (s Suite) sendDir() string { return cmp.Or(s.SendDir, "send") }

func (s Suite) testSendFixtures(t *testing.T) {
	verbatim := false
	s.eachFixture(t, s.sendDir(), ".response.http", func(t *testing.T, f fixture) {
		accepted := s.replaySend(t, f)
		verbatim = verbatim || accepted && f.source["kind"] != "constructed"
	})
	if !verbatim {
		t.Error("no example of the API's document is a fixture with an accepted message")
	}
}

// offline builds the adapter upon a fixture's answer.
func (s Suite) offline(t testing.TB, r http.RoundTripper) providers.Provider {
	return s.build(t, func(o *providers.Options) {
		o.BaseURL = "https://gateway.example/base"
		o.Transport = r
	})
}

func (s Suite) replaySend(t *testing.T, f fixture) (accepted bool) {
	var view batchView
	in := json.NewDecoder(bytes.NewReader(f.read(t, ".batch.json")))
	in.DisallowUnknownFields()
	if err := in.Decode(&view); err != nil {
		t.Fatalf("%s.batch.json: %v", f.path, err)
	}
	b := view.batch()
	r := f.response(t)
	_, results, err := s.send(t.Context(), t, s.offline(t, r), b)
	f.checkRequest(t, r)
	f.compare(t, ".want.json", wantView{Results: viewResults(results), Error: viewError(err)}.encode())
	for _, result := range results {
		accepted = accepted || result.Class == providers.Accepted
	}
	return accepted
}

func (f fixture) checkRequest(t *testing.T, r *replay) {
	t.Helper()
	if len(r.requests) != 1 {
		t.Fatalf("%d requests, want exactly one", len(r.requests))
	}
	f.compare(t, ".request.http", r.requests[0])
}

func (s Suite) replayReport(t *testing.T, f fixture) {
	p := s.offline(t, &replay{}).(providers.Reporter)
	cb := f.callback(t)
	got := wantView{Verify: "ok"}
	if err := p.VerifyReport(cb); err != nil {
		got.Verify = "refused"
		s.checkLeak(t, err.Error(), 0)
	}
	reports, err := p.ParseReports(cb)
	if err != nil {
		got.Unreadable = true
		s.checkLeak(t, err.Error(), 0)
	}
	got.Reports = viewReports(reports)
	if n, ok := p.(providers.Noticer); ok {
		notices, err := n.ParseNotices(cb)
		got.Unreadable = got.Unreadable || err != nil
		got.Notices = viewNotices(notices)
	}
	f.compare(t, ".want.json", got.encode())
}

func (s Suite) replayInbound(t *testing.T, f fixture) {
	in, contentType, answer, err := s.offline(t, &replay{}).(providers.Receiver).ParseInbound(f.callback(t))
	got := wantView{Inbound: in, ContentType: contentType, Answer: string(answer), Unreadable: err != nil}
	f.compare(t, ".want.json", got.encode())
}

func (s Suite) replayFind(t *testing.T, f fixture) {
	var view queryView
	in := json.NewDecoder(bytes.NewReader(f.read(t, ".query.json")))
	in.DisallowUnknownFields()
	if err := in.Decode(&view); err != nil {
		t.Fatalf("%s.query.json: %v", f.path, err)
	}
	q := view.query()
	r := f.response(t)
	finder := s.offline(t, r).(providers.Finder)
	if !finder.Finds(q) {
		t.Fatalf("%s: Finds is false", f.path)
	}
	found, err := finder.Find(t.Context(), q, nil)
	if err != nil {
		s.checkLeak(t, err.Error(), 0)
	}
	f.checkRequest(t, r)
	f.compare(t, ".want.json", wantView{Reports: viewReports(found.Reports), Cursor: found.Cursor, Done: found.Done, Error: viewError(err)}.encode())
}

func (s Suite) replayBalance(t *testing.T, f fixture) {
	r := f.response(t)
	balance, err := s.offline(t, r).(providers.Balancer).Balance(t.Context(), nil)
	if err != nil {
		s.checkLeak(t, err.Error(), 0)
	}
	f.checkRequest(t, r)
	f.compare(t, ".want.json", wantView{Balance: balance, Error: viewError(err)}.encode())
}

func (s Suite) testFindStatus(t *testing.T) {
	word := s.unknownStatus()
	q, body := s.Find(word)
	found, err := s.offline(t, &replay{status: 200, body: []byte(body)}).(providers.Finder).Find(t.Context(), q, nil)
	if err != nil || len(found.Reports) != 1 {
		t.Fatalf("an unknown status is a report, never an error: %d reports, %v", len(found.Reports), err)
	}
	r := found.Reports[0]
	if r.Status != providers.ReportUnknown || r.Code != word || found.Done {
		t.Errorf("an unknown status is ReportUnknown with its word, and is not final: %+v, done %v", r.Status, found.Done)
	}
}
