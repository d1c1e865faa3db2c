package ingest

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/tuma-sms/tuma/internal/service"
)

// Quota is a tenant's rate over the whole cluster.
type Quota interface {
	// Take takes n recipients from the tenant's rate, or none: wait is then how
	// long to wait before asking again.
	Take(ctx context.Context, tenant string, n int) (wait time.Duration, err error)
}

// quota asks the cluster's quota, and this process's own limiters while that
// cannot be reached. With several processes the sum may then be larger than the
// rate: it protects the tenant's neighbours, not a provider's limit.
type quota struct {
	shared Quota
	local  map[string]*rate.Limiter
	now    func() time.Time
	log    *slog.Logger

	complain gate
}

func newQuota(shared Quota, tenants []Tenant, now func() time.Time, log *slog.Logger) *quota {
	q := &quota{shared: shared, local: map[string]*rate.Limiter{}, now: now, log: log}
	for _, t := range tenants {
		if r := t.Rate; r.Messages > 0 && r.Per > 0 {
			q.local[t.Name] = rate.NewLimiter(rate.Limit(float64(r.Messages)/r.Per.Seconds()), r.Messages)
		}
	}
	return q
}

// limits reports whether a tenant has a rate.
func (q *quota) limits(tenant string) bool { return q.local[tenant] != nil }

// take takes n recipients of a tenant's rate; a wait greater than zero means
// that it took none.
func (q *quota) take(ctx context.Context, tenant string, n int) time.Duration {
	l := q.local[tenant]
	if l == nil || n == 0 {
		return 0
	}
	if q.shared != nil {
		wait, err := q.shared.Take(ctx, tenant, n)
		if err == nil {
			return wait
		}
		if ctx.Err() == nil && q.complain.open(q.now()) {
			q.log.Warn("tenant rate held locally", "tenant", tenant, "error", err)
		}
	}
	return takeLocal(l, q.now(), n)
}

// takeLocal lets an envelope larger than the burst pass once the bucket is full,
// and has it paid for afterwards.
func takeLocal(l *rate.Limiter, now time.Time, n int) time.Duration {
	first := min(n, l.Burst())
	r := l.ReserveN(now, first)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return wait
	}
	for n -= first; n > 0; n -= l.Burst() {
		l.ReserveN(now, min(n, l.Burst()))
	}
	return 0
}

// wait takes n recipients however long that takes, unless the program is told to
// stop: at a low rate that would be no end.
func (q *quota) wait(ctx context.Context, tenant string, n int) error {
	stopping := service.Stopping(ctx)
	for {
		d := q.take(ctx, tenant, n)
		if d <= 0 {
			return ctx.Err()
		}
		timer := time.NewTimer(d)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-stopping:
			timer.Stop()
			return errStopping
		case <-timer.C:
		}
	}
}
