package cli

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// carriedBy answers dry runs with an account, and submissions as ingest does;
// what was submitted is delivered at the second look.
func carriedBy(t *testing.T, account string) (a *api, sent *atomic.Int64) {
	sent = &atomic.Int64{}
	routes := map[string]answer{"POST /v1/messages": func(n int, r request, w http.ResponseWriter) {
		if strings.HasSuffix(r.URI, "dry_run=true") {
			write(w, 200, fmt.Sprintf(`{"accepted":1,"rejected":0,"messages":[],"errors":[],"batches":{%q:1}}`, account))
			return
		}
		e, err := envelope.Decode([]byte(r.Body))
		if err != nil {
			t.Error(err)
			return
		}
		sent.Add(int64(len(e.Recipients)))
		write(w, 202, fmt.Sprintf(`{"id":"E%d","accepted":%d,"rejected":0}`, len(e.Recipients), len(e.Recipients)))
	}}
	for _, n := range []int{3, 2} {
		routes[fmt.Sprintf("GET /v1/envelopes/E%d", n)] = func(look int, _ request, w http.ResponseWriter) {
			word := "delivered"
			if look == 1 {
				word = "accepted"
			}
			write(w, 200, fmt.Sprintf(`{"messages":%d,"counts":{%q:%d}}`, n, word, n))
		}
	}
	return newAPI(t, routes), sent
}

func TestBench(t *testing.T) {
	t.Parallel()
	a, sent := carriedBy(t, "cloudrebue-sim")
	r := run(t, Deps{}, "bench", "--url", a.URL, "--messages", "5", "--recipients", "3", "--clients", "1")
	if r.code != 0 || sent.Load() != 5 || len(r.waits) != 1 {
		t.Errorf("%+v, %d sent", r, sent.Load())
	}
	for _, stage := range []string{"accepted", "sent", "reported"} {
		if !strings.Contains(r.out, stage) {
			t.Errorf("no %s in %q", stage, r.out)
		}
	}
}

// What would cost money wants to be asked for.
func TestBenchSparesRealAccounts(t *testing.T) {
	t.Parallel()
	a, sent := carriedBy(t, "cloudrebue-ke")
	args := []string{"bench", "--url", a.URL, "--messages", "3", "--recipients", "3"}
	if r := run(t, Deps{}, args...); r.code != 2 || sent.Load() != 0 || !strings.Contains(r.errOut, "cloudrebue-ke") {
		t.Errorf("%+v, %d sent", r, sent.Load())
	}
	if r := run(t, Deps{}, append(args, "--real")...); r.code != 0 || sent.Load() != 3 {
		t.Errorf("%+v, %d sent", r, sent.Load())
	}
}

// Long flags may have one dash, as those of the other programs; what is a flag's
// value stays as it is.
func TestOneDash(t *testing.T) {
	t.Parallel()
	a := newAPI(t, map[string]answer{"POST /v1/messages": accept})
	r := run(t, Deps{}, "send", "-url", a.URL, "-to=+254712345678", "-from", "ACME", "-text", "-json", "--ref", "-to", "-json")
	if r.code != 0 || !strings.HasPrefix(r.out, "{") {
		t.Fatalf("%+v", r)
	}
	e, err := envelope.Decode([]byte(a.got()[0].Body))
	if err != nil || e.Text != "-json" || e.Ref != "-to" {
		t.Errorf("%+v, %v", e, err)
	}
	if r := run(t, Deps{}, "-version"); r.code != 0 || r.out != "tuma 1.2.3\n" {
		t.Errorf("%+v", r)
	}
	if r := run(t, Deps{}, "send", "-h"); r.code != 0 {
		t.Errorf("%+v", r)
	}
}

// Help shows flags as the documents write them.
func TestHelpOfPrograms(t *testing.T) {
	t.Parallel()
	var out, errOut strings.Builder
	p := Program{Name: "ingest", Stdout: &out, Stderr: &errOut}
	if code := p.Main(t.Context(), []string{"-help"}); code != 0 || !strings.Contains(out.String(), "--config FILE") || !strings.Contains(out.String(), "--version") {
		t.Errorf("%d: %s", code, out.String())
	}
	if code := p.Main(t.Context(), []string{"--bogus"}); code != 2 || errOut.String() != "ingest: flag provided but not defined: -bogus (see ingest --help)\n" {
		t.Errorf("%d: %q", code, errOut.String())
	}
}
