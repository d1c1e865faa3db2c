package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/redis/go-redis/v9"
)

// claimLease is how long a claim keeps others away: longer than a submission
// takes to be stored, short enough that a client whose submission died with us
// can repeat it soon.
const claimLease = 30 * time.Second

// ErrLost says that the key is no longer the owner's: it is not kept any more, or
// Redis has lost it.
var ErrLost = errors.New("idempotency: claim lost")

// ErrBadAnswer says that what Redis holds under a key is none of ours.
var ErrBadAnswer = errors.New("idempotency: unreadable answer")

// Keys are the clients' idempotency keys, on Redis. Safe for concurrent use.
//
// A key is claimed by the submission that comes first, its owner, and confirmed
// with the answer once the bus has stored the submission. A claim that is not
// confirmed stays, as nobody can tell whether its submission was stored: after
// its lease the next one takes it over, learns the owner, finds out, and goes on
// in the owner's name. So all who ever store something under a key store the
// same submission, with the same id. All calls may be repeated, also by the
// Redis client itself after a lost answer: who has a claim goes on.
//
// While Redis keeps its data, a key stands for one submission as long as it is
// kept, and at most one of those who claim it holds its lease. Nothing here is
// promised once Redis is lost, flushed or failed over (replication is
// asynchronous): then only the bus's de-duplication window protects, because all
// submissions under a key carry the same MsgID. Redis must not evict
// (maxmemory-policy noeviction).
type Keys struct {
	// Lease is how long a claim keeps others away, from the moment it is made
	// or renewed: 30 s from NewKeys. Set it before the first call, or never.
	Lease time.Duration

	rdb                           redis.UniversalClient
	now                           func() time.Time
	claim, confirm, drop, release *redis.Script
}

// Owner is a submission that claims a key.
type Owner struct {
	ID string    // of its envelope; another for each try
	At time.Time // when it was accepted; kept to the nanosecond, in UTC
}

// ClaimState is what a claim found.
type ClaimState int

// The states of a claim.
const (
	Mine      ClaimState = iota // the caller is the owner, and nobody ever took over: go on
	TakenOver                   // an earlier try was not confirmed: find out whether it was stored; if not, go on in its name
	Pending                     // somebody else is still working on the same submission
	Done                        // it has been stored: answer as the first time
	Mismatch                    // the key belongs to another submission
)

// Claim is the answer to Keys.Claim.
type Claim struct {
	State ClaimState
	// First is the owner when TakenOver. It may be the caller itself, if others
	// have had the claim since: they may have stored the submission.
	First Owner
	// Answer is what was confirmed: when Done, and also when Mine if this owner
	// has confirmed it before.
	Answer []byte
	// Lapses is when the lease ends, by our clock: the caller's own (not later
	// than Redis has it) when Mine or TakenOver, somebody else's when Pending.
	Lapses time.Time
}

// A key is a hash: owner, at and print of the submission it stands for; holder
// of the claim, and lease, until when by Redis's clock (in milliseconds); taken,
// if the claim was ever taken over; and, once confirmed, answer.
const (
	claimSource = `
local h = redis.call('HMGET', KEYS[1], 'owner', 'at', 'print', 'answer', 'holder', 'lease', 'taken')
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local lease = string.format('%.0f', now + ARGV[4])
if not h[1] then
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'at', ARGV[2], 'print', ARGV[3], 'holder', ARGV[1], 'lease', lease)
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  return {'mine'}
end
if h[3] ~= ARGV[3] then return {'mismatch'} end
local mine = h[5] == ARGV[1]
if h[4] then
  if mine and not h[7] then return {'mine', h[4]} end
  return {'done', h[4]}
end
if not mine then
  local left = tonumber(h[6]) - now
  if left > 0 then return {'pending', left} end
  redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'taken', '1')
  h[7] = '1'
end
redis.call('HSET', KEYS[1], 'lease', lease)
if h[7] then return {'taken', h[1], h[2]} end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {'mine'}`

	confirmSource = `
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'answer', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`

	dropSource = `
local h = redis.call('HMGET', KEYS[1], 'holder', 'answer')
if h[1] == ARGV[1] and not h[2] then redis.call('DEL', KEYS[1]) end
return 0`

	releaseSource = `
local h = redis.call('HMGET', KEYS[1], 'holder', 'answer')
if h[1] == ARGV[1] and not h[2] then redis.call('HSET', KEYS[1], 'lease', '0') end
return 0`
)

// NewKeys returns the keys on rdb. It calls nobody yet. now is our clock.
func NewKeys(rdb redis.UniversalClient, now func() time.Time) *Keys {
	return &Keys{
		Lease: claimLease, rdb: rdb, now: now,
		claim: redis.NewScript(claimSource), confirm: redis.NewScript(confirmSource),
		drop: redis.NewScript(dropSource), release: redis.NewScript(releaseSource),
	}
}

// Claim claims the tenant's key for the submission by, with that fingerprint (of
// its parsed body without the key). A new claim is kept for keep from now, and at
// least as long as its lease. Claiming again renews the lease. An error says that
// Redis did not answer, and the claim may have been made; or wraps ErrBadAnswer.
func (k *Keys) Claim(ctx context.Context, tenant, key string, fingerprint [32]byte, by Owner, keep time.Duration) (Claim, error) {
	now := k.now()
	got, err := k.claim.Run(ctx, k.rdb, redisKey(tenant, key), by.ID, by.At.UnixNano(), fingerprint[:],
		k.Lease.Milliseconds(), max(keep, k.Lease).Milliseconds()).Slice()
	if err != nil {
		return Claim{}, fmt.Errorf("idempotency: claim: %w", err)
	}
	return k.read(got, now)
}

// read turns the answer that the claim script gave, asked at asked, into a Claim.
func (k *Keys) read(got []any, asked time.Time) (c Claim, err error) {
	state, _ := got[0].(string) // the script always answers with a word
	switch state {
	case "mine":
		c = Claim{State: Mine, Lapses: asked.Add(k.Lease)}
		if len(got) > 1 {
			c = Claim{State: Mine}
			c.Answer, err = unpack(got[1])
		}
	case "taken":
		c = Claim{State: TakenOver, Lapses: asked.Add(k.Lease)}
		c.First, err = first(got[1:])
	case "done":
		c = Claim{State: Done}
		c.Answer, err = unpack(got[1])
	case "pending":
		left, _ := got[1].(int64)
		c = Claim{State: Pending, Lapses: k.now().Add(time.Duration(left) * time.Millisecond)}
	default:
		c = Claim{State: Mismatch}
	}
	return c, err
}

// first reads an owner: its id, and its time in nanoseconds.
func first(got []any) (Owner, error) {
	id, _ := got[0].(string)
	at, _ := got[1].(string)
	ns, err := strconv.ParseInt(at, 10, 64)
	if err != nil || id == "" {
		return Owner{}, ErrBadAnswer
	}
	return Owner{ID: id, At: time.Unix(0, ns).UTC()}, nil
}

// Confirm keeps the answer for all who repeat the submission, for keep from now.
// owner is the owner's id, whoever has stored the submission in its name.
// ErrLost if the key is not, or no longer, that owner's: this does not undo what
// the bus has stored. A repeated Confirm replaces the answer.
func (k *Keys) Confirm(ctx context.Context, tenant, key, owner string, answer []byte, keep time.Duration) error {
	if keep < time.Millisecond {
		return fmt.Errorf("idempotency: confirm: keeping for %v", keep)
	}
	kept, err := k.confirm.Run(ctx, k.rdb, redisKey(tenant, key), owner, pack(answer), keep.Milliseconds()).Bool()
	if err != nil {
		return fmt.Errorf("idempotency: confirm: %w", err)
	}
	if !kept {
		return ErrLost
	}
	return nil
}

// Drop deletes the claim that holder, the id of the submission that claimed it
// last, has: the key is free for any submission. It is only for what is surely
// not stored, by anybody. A confirmed key, or somebody else's, stays; that is no
// error.
func (k *Keys) Drop(ctx context.Context, tenant, key, holder string) error {
	if err := k.drop.Run(ctx, k.rdb, redisKey(tenant, key), holder).Err(); err != nil {
		return fmt.Errorf("idempotency: drop: %w", err)
	}
	return nil
}

// Release ends the lease that holder, the id of the submission that claimed the
// key last, has. The claim stays: the next one takes it over at once. It is for
// what may have been stored or not. A confirmed key, or somebody else's, stays as
// it is; that is no error.
func (k *Keys) Release(ctx context.Context, tenant, key, holder string) error {
	if err := k.release.Run(ctx, k.rdb, redisKey(tenant, key), holder).Err(); err != nil {
		return fmt.Errorf("idempotency: release: %w", err)
	}
	return nil
}

// MsgID is the Nats-Msg-Id of every submission under a tenant's key: 22
// characters of a hash of both, the same in every process and version.
func MsgID(tenant, key string) string {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(tenant))) // or "ab"+"c" would be "a"+"bc"
	h.Write(n[:])
	h.Write([]byte(tenant))
	h.Write([]byte(key))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))[:22]
}

// redisKey hides the client's key, which may be long and telling.
func redisKey(tenant, key string) []string { return []string{"tuma:key:" + MsgID(tenant, key)} }

// An answer is stored behind one byte that says how.
const (
	plain      = 'p'
	compressed = 's' // s2

	compressFrom = 1 << 10
	largest      = 64 << 20 // what we would unpack at most
)

func pack(answer []byte) []byte {
	if len(answer) < compressFrom {
		return append([]byte{plain}, answer...)
	}
	return append([]byte{compressed}, s2.Encode(nil, answer)...)
}

func unpack(stored any) ([]byte, error) {
	s, _ := stored.(string)
	if s == "" {
		return nil, ErrBadAnswer
	}
	form, body := s[0], []byte(s[1:])
	if form == plain {
		return body, nil
	}
	if n, err := s2.DecodedLen(body); form != compressed || err != nil || n > largest {
		return nil, ErrBadAnswer
	}
	answer, err := s2.Decode(nil, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadAnswer, err)
	}
	return answer, nil
}
