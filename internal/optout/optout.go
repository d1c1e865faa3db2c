// Package optout keeps which numbers want nothing from an account any more. A
// gateway tells (a STOP, a refusal), or an operator; ingest refuses what would go
// there. The list is a stream that keeps the last word on each number for ever.
package optout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
)

// Entry is the last word on one number.
type Entry struct {
	Account string    `json:"provider"`
	Number  string    `json:"number"` // E.164 with its plus
	Out     bool      `json:"opted_out"`
	Source  string    `json:"source"` // webhook, report, refused, operator
	Time    time.Time `json:"time"`
}

// hash names a number in a subject. It is no secret: numbers can be guessed.
func hash(number string) string {
	sum := sha256.Sum256([]byte(number))
	return hex.EncodeToString(sum[:16])
}

// Tell stores the last word on a number. Telling it again changes nothing but its
// time.
func Tell(ctx context.Context, b *bus.Bus, e Entry) error {
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("optout: %w", err)
	}
	_, err = b.Publish(ctx, bus.Out{Subject: bus.OptOutSubject(e.Account, hash(e.Number)), Data: data})
	return err
}

// List follows the stream. Safe for concurrent use.
type List struct {
	log   *slog.Logger
	ready chan struct{}

	mu  sync.RWMutex
	out map[string]map[sum]struct{} // by account
}

type sum [16]byte // the beginning of a number's hash

// NewList returns an empty List; Follow fills it.
func NewList(log *slog.Logger) *List {
	return &List{log: log, ready: make(chan struct{}), out: map[string]map[sum]struct{}{}}
}

// Ready is closed once all that was told before is known.
func (l *List) Ready() <-chan struct{} { return l.ready }

// Has reports whether a number wants nothing from an account.
func (l *List) Has(account, number string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	numbers := l.out[account]
	if len(numbers) == 0 {
		return false
	}
	whole := sha256.Sum256([]byte(number))
	_, ok := numbers[sum(whole[:16])]
	return ok
}

// Follow keeps the list up to date until ctx is done.
func (l *List) Follow(ctx context.Context, b *bus.Bus) error {
	from, known := uint64(0), sync.OnceFunc(func() { close(l.ready) })
	for ctx.Err() == nil {
		err := b.Tail(ctx, bus.Tail{Stream: bus.OptOutStream, From: from}, func(m *bus.Msg) {
			from = m.Seq + 1
			l.apply(m)
		}, known)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, bus.ErrFellBack) {
			from = 0
		}
		l.log.Warn("opt-outs interrupted", "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return nil
}

func (l *List) apply(m *bus.Msg) {
	var e Entry
	part := strings.Split(m.Subject, ".") // sms.optout.ACCOUNT.HASH
	if len(part) != 4 || json.Unmarshal(m.Data, &e) != nil {
		l.log.Warn("not an opt-out", "seq", m.Seq)
		return
	}
	var number sum
	if n, err := hex.Decode(number[:], []byte(part[3])); err != nil || n != len(number) {
		l.log.Warn("not an opt-out", "seq", m.Seq)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	numbers := l.out[part[2]]
	switch {
	case !e.Out:
		delete(numbers, number)
	case numbers == nil:
		l.out[strings.Clone(part[2])] = map[sum]struct{}{number: {}}
	default:
		numbers[number] = struct{}{}
	}
}
