package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/redis/go-redis/v9"
)

// claimLapses is how long a claim holds that nobody confirms: longer than a
// submission takes to be stored, short enough that a client whose submission
// died with us can repeat it soon.
const claimLapses = 30 * time.Second

// ErrLost says that the claim is no longer the owner's: it has lapsed (and
// somebody else may have it), or Redis has lost it.
var ErrLost = errors.New("idempotency: claim lost")

// ErrBadAnswer says that what Redis holds as an answer is none of ours.
var ErrBadAnswer = errors.New("idempotency: unreadable answer")

// Keys are the clients' idempotency keys, on Redis. Safe for concurrent use.
//
// A key is claimed by the submission that comes first, its owner, and confirmed
// with the answer once the bus has stored the submission. All calls may be
// repeated, also by the Redis client itself after a lost answer: an owner that
// meets its own key goes on.
//
// While Redis keeps its data, one submission at most is confirmed under a key as
// long as the key is kept. Nothing here is promised once Redis is lost, flushed
// or failed over (replication is asynchronous), and an owner slower than 30 s
// may find that somebody else has claimed the key: then only the bus's
// de-duplication window protects, because both submissions carry the same MsgID.
// Redis must not evict (maxmemory-policy noeviction).
type Keys struct {
	rdb                  redis.UniversalClient
	now                  func() time.Time
	claim, confirm, drop *redis.Script
}

// ClaimState is what a claim found.
type ClaimState int

// The states of a claim.
const (
	Mine     ClaimState = iota // the owner's: go on
	Pending                    // somebody else is still working on the same submission
	Done                       // it has been stored: answer as the first time
	Mismatch                   // the key belongs to another submission
)

// Claim is the answer to Keys.Claim.
type Claim struct {
	State ClaimState
	// Answer is what was confirmed: when Done, and also when Mine if this owner
	// has confirmed it before.
	Answer []byte
	// Lapses is when somebody else's claim lapses unless it is confirmed, by
	// our clock: when Pending.
	Lapses time.Time
}

// A key is a hash of owner, print (of the submission) and, once confirmed, answer.
const (
	claimSource = `
local h = redis.call('HMGET', KEYS[1], 'owner', 'print', 'answer')
if not h[1] then
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'print', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {'mine'}
end
if h[2] ~= ARGV[2] then return {'mismatch'} end
if h[1] == ARGV[1] then
  if h[3] then return {'mine', h[3]} end
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {'mine'}
end
if h[3] then return {'done', h[3]} end
return {'pending', redis.call('PTTL', KEYS[1])}`

	confirmSource = `
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'answer', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`

	dropSource = `
local h = redis.call('HMGET', KEYS[1], 'owner', 'answer')
if h[1] == ARGV[1] and not h[2] then redis.call('DEL', KEYS[1]) end
return 0`
)

// NewKeys returns the keys on rdb. It calls nobody yet. now is our clock.
func NewKeys(rdb redis.UniversalClient, now func() time.Time) *Keys {
	return &Keys{
		rdb: rdb, now: now,
		claim: redis.NewScript(claimSource), confirm: redis.NewScript(confirmSource), drop: redis.NewScript(dropSource),
	}
}

// Claim claims the tenant's key for a submission with that fingerprint (of its
// parsed body without the key), in the name of owner. What the owner does not
// Confirm within 30 s lapses; claiming again starts the 30 s anew. An error says
// that Redis did not answer: the claim may have been made.
func (k *Keys) Claim(ctx context.Context, tenant, key string, fingerprint [32]byte, owner string) (Claim, error) {
	got, err := k.claim.Run(ctx, k.rdb, redisKey(tenant, key), owner, fingerprint[:], claimLapses.Milliseconds()).Slice()
	if err != nil {
		return Claim{}, fmt.Errorf("idempotency: claim: %w", err)
	}
	return k.read(got)
}

// read turns the claim script's answer into a Claim.
func (k *Keys) read(got []any) (Claim, error) {
	var second any
	if len(got) == 2 {
		second = got[1]
	}
	state, _ := got[0].(string) // the script always answers with a word
	switch state {
	case "mine":
		if second == nil {
			return Claim{State: Mine}, nil
		}
		answer, err := unpack(second)
		return Claim{State: Mine, Answer: answer}, err
	case "done":
		answer, err := unpack(second)
		return Claim{State: Done, Answer: answer}, err
	case "pending":
		left, _ := second.(int64)
		return Claim{State: Pending, Lapses: k.now().Add(time.Duration(left) * time.Millisecond)}, nil
	default:
		return Claim{State: Mismatch}, nil
	}
}

// Confirm keeps the answer for all who repeat the submission, for keep from now.
// Only the owner of the claim can; ErrLost otherwise, which does not undo what
// the bus has stored. A repeated Confirm replaces the answer.
func (k *Keys) Confirm(ctx context.Context, tenant, key, owner string, answer []byte, keep time.Duration) error {
	if keep < time.Millisecond {
		return fmt.Errorf("idempotency: confirm: keeping for %v", keep)
	}
	mine, err := k.confirm.Run(ctx, k.rdb, redisKey(tenant, key), owner, pack(answer), keep.Milliseconds()).Bool()
	if err != nil {
		return fmt.Errorf("idempotency: confirm: %w", err)
	}
	if !mine {
		return ErrLost
	}
	return nil
}

// Drop gives the owner's claim up, so that the submission can be repeated at
// once. A confirmed key, or somebody else's, stays; that is no error.
func (k *Keys) Drop(ctx context.Context, tenant, key, owner string) error {
	if err := k.drop.Run(ctx, k.rdb, redisKey(tenant, key), owner).Err(); err != nil {
		return fmt.Errorf("idempotency: drop: %w", err)
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
