package bulksmsrates_test

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
)

// FuzzLenient feeds the readers of what the document does not show: webhooks,
// inbound messages, look-ups and log-ins. Nothing may panic, and a look-up tells
// only of messages that were asked for.
func FuzzLenient(f *testing.F) {
	for _, pattern := range []string{"report/*.request.http", "inbound/*.request.http", "find/*.response.http"} {
		names, err := filepath.Glob(filepath.Join("testdata", pattern))
		if err != nil || len(names) == 0 {
			f.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			body, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(body, "")
		}
	}
	f.Add([]byte(`{"data": []}`), "eyJzIjoibG9nIiwiYyI6IngifQ")
	f.Fuzz(func(t *testing.T, body []byte, cursor string) {
		p := account(t, answers{200, nil, string(body)}, nil)
		cb := &providers.Callback{Method: "POST", Query: url.Values{}, Body: body}
		_, _ = p.(providers.Noticer).ParseNotices(cb)
		_, _, _, _ = p.(providers.Receiver).ParseInbound(cb)
		for _, q := range []*providers.Query{queryOf(1, "m-1"), queryOf(3, theBatch), queryOf(3), queryOf(501, theBatch)} {
			q.Cursor = cursor
			open := map[string]bool{}
			for _, m := range q.Messages {
				open[m.ID] = true
			}
			found, _ := p.(providers.Finder).Find(t.Context(), q, nil)
			for _, r := range found.Reports {
				if !open[r.MessageID] || len(r.Code) > 64 || len(r.Detail) > 200 {
					t.Fatalf("report %+v", r)
				}
			}
		}
	})
}
