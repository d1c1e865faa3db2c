package ingest_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/ingest"
)

// What an answer's time could give away, measured side by side so that a busy
// machine slows all alike; docs/security.md has the figures. A difference of the
// medians that is well above that of `same` would be one.

func BenchmarkForeignAndUnknownIDs(b *testing.B) {
	r := start(b)
	var foreign, unknown []string // as many and as like one another, so that memory is as near
	for range 4000 {
		foreign = append(foreign, r.accepted(one).Messages[0].ID)
	}
	for _, id := range foreign {
		unknown = append(unknown, id[:22]+"ZZZZ-0")
	}
	about := func(ids []string) func(i int) (key, path string) {
		return func(i int) (string, string) { return "k-ops", "/v1/messages/" + ids[i%len(ids)] }
	}
	sideBySide(b, r, map[string]func(i int) (key, path string){
		"foreign": about(foreign), "unknown": about(unknown), "same": about(slices.Clone(unknown)),
	}, http.StatusNotFound)
}

func BenchmarkRightAndWrongKeys(b *testing.B) {
	const tenants = 500
	key := func(i int) string { return fmt.Sprintf("tuma_%032d", i) }
	r := start(b, func(o *ingest.Options) {
		for i := range tenants {
			o.Tenants = append(o.Tenants, ingest.Tenant{Name: fmt.Sprintf("t%d", i), Keys: [][32]byte{sha256.Sum256([]byte(key(i)))}})
		}
	})
	const path = "/v1/messages"
	sideBySide(b, r, map[string]func(i int) (key, path string){
		"near":  func(int) (string, string) { return key(7)[:36] + "x", path },
		"wrong": func(i int) (string, string) { return key(i + 1_000_000), path },
		"short": func(int) (string, string) { return "x", path },
		"same":  func(i int) (string, string) { return key(i + 2_000_000), path },
	}, http.StatusUnauthorized)
}

// sideBySide asks in turns and reports the median time of each.
func sideBySide(b *testing.B, r *rig, ask map[string]func(i int) (key, path string), want int) {
	b.Helper()
	method := http.MethodGet
	if want == http.StatusUnauthorized {
		method = http.MethodPost
	}
	took := map[string][]time.Duration{}
	for i := 0; b.Loop(); i++ {
		for name, about := range ask { // in a random order each time
			key, path := about(i)
			req, err := http.NewRequestWithContext(b.Context(), method, r.url+path, nil)
			if err != nil {
				b.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+key)
			began := time.Now()
			resp, err := r.client.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			took[name] = append(took[name], time.Since(began))
			_ = resp.Body.Close()
			if resp.StatusCode != want {
				b.Fatalf("%s: answered %d", name, resp.StatusCode)
			}
		}
	}
	for name, all := range took {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Nanoseconds())/1000, name+"-µs")
	}
}
