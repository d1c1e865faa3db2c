package dispatch

import (
	"log/slog"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

type nothing struct{ providers.Provider }

func (nothing) Limits() providers.Limits { return providers.Limits{MaxBatch: 10} }

type deaf struct{ Observer }

func (deaf) Mode(string, string, bool) {}

// The lanes are handed back while an account is blocked, and bring the next probe only
// when that is over. A probe that fails is no new beginning of the wait, a success is.
func TestAGatewayThatStaysAwayIsLeft(t *testing.T) {
	now := time.Now()
	start := now
	d := &Options{Now: func() time.Time { return now }, MoveAfter: 5 * time.Minute, Log: slog.New(slog.DiscardHandler), Observer: deaf{}}
	a := newAccount(d, Account{Name: "a", Provider: nothing{}, Tenants: []string{"acme"}})
	l := newLane(a, envelope.Bulk, "acme")
	for !l.moving() {
		if now.Sub(start) > 11*time.Minute { // the last wait may have been for five minutes
			t.Fatal("nothing moves from a gateway that has been away for eleven minutes")
		}
		now = now.Add(time.Second)
		if since, _ := a.stuck(); since.IsZero() {
			a.after(t.Context(), providers.Unavailable, &providers.Error{}, 0)
		}
	}
	if away := now.Sub(start); away < 5*time.Minute {
		t.Errorf("messages move after %v", away)
	}
	a.after(t.Context(), providers.Accepted, nil, 0)
	a.after(t.Context(), providers.Unavailable, &providers.Error{}, 0)
	if l.moving() {
		t.Error("messages move at once from a gateway that was well just now")
	}
}
