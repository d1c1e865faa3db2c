package ingest_test

import (
	"net/http"
	"testing"
)

// An id that this process has never heard of is told as 404 only after the bus
// has said that nobody else stored it.
func TestUnknownIsNotToldWhileTheBusIsAway(t *testing.T) {
	t.Parallel()
	r := start(t)
	calls := [][2]string{
		{http.MethodGet, "/v1/messages/NOBODY-0"}, {http.MethodGet, "/v1/envelopes/NOBODY"}, {http.MethodGet, "/v1/envelopes/NOBODY/messages"},
		{http.MethodDelete, "/v1/messages/NOBODY-0"}, {http.MethodDelete, "/v1/envelopes/NOBODY"},
	}
	for _, c := range calls { // a bus that takes its time is answered with 503, too
		r.eventually(c[0]+" "+c[1]+" is unknown", func() bool { return r.do("k-acme", c[0], c[1], "").status == http.StatusNotFound })
	}
	r.server.Stop()
	r.eventually("disconnected", func() bool { return !r.bus.Connected() })
	for _, c := range calls {
		if a := r.do("k-acme", c[0], c[1], ""); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s while the bus is away: %d %s", c, a.status, a.body)
		}
	}
}
