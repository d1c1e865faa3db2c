package ratelimit

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// quotaSource is a token bucket told by one instant: full, when the bucket will
// be full again. A take moves it by what the tokens cost, and may move it one
// period ahead of now at most, or any distance from a bucket that is full. All in
// microseconds of Redis's clock. A clock that goes back takes full along.
const quotaSource = `
local per, cost = tonumber(ARGV[1]), tonumber(ARGV[2])
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
local h = redis.call('HMGET', KEYS[1], 'full', 'last')
local full, last = tonumber(h[1] or 0), tonumber(h[2] or 0)
if last > now then full = full - (last - now) end
full = math.max(full, now)
local wait = math.min(full + cost - now - per, full - now)
if wait > 0 then return wait end
redis.call('HSET', KEYS[1], 'full', string.format('%.0f', full + cost), 'last', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((full + cost - now) / 1000)))
return 0`

// Quota counts what all processes together take from one budget of n per
// period: a token bucket on Redis that holds one period's worth and starts full.
// Safe for concurrent use; changing n or per takes effect at once.
//
// Over any interval of length d it gives at most n·(1 + d/per), or one take
// larger than n on top, which a full bucket grants and then owes. A Redis that
// was flushed, or cannot be reached in time for the answer, forgets: the bucket
// is full again, or a take that was counted is reported as an error.
type Quota struct {
	rdb  redis.UniversalClient
	keys []string
	n    int
	per  time.Duration
	take *redis.Script
}

// NewQuota returns the budget of that name. n and per must be positive.
func NewQuota(rdb redis.UniversalClient, name string, n int, per time.Duration) *Quota {
	return &Quota{rdb: rdb, keys: []string{"{tuma:quota:" + name + "}"}, n: n, per: per, take: redis.NewScript(quotaSource)}
}

// Take takes n at once, or nothing: then wait is how long until it could, if
// nobody else comes first. An error says that Redis did not answer; the caller
// decides whether to go on. n of 0 or less is free.
func (q *Quota) Take(ctx context.Context, n int) (wait time.Duration, err error) {
	if n <= 0 {
		return 0, nil
	}
	per := q.per.Microseconds()
	cost := (per*int64(n) + int64(q.n) - 1) / int64(q.n)
	us, err := q.take.Run(ctx, q.rdb, q.keys, per, cost).Int64()
	if err != nil {
		return 0, fmt.Errorf("ratelimit: quota: %w", err)
	}
	return time.Duration(us) * time.Microsecond, nil
}
