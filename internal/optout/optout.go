// Package optout keeps which numbers want nothing from an account any more. A
// gateway tells (a STOP, a refusal), or an operator; ingest refuses what would go
// there. The list is a stream that keeps the last word on each number for ever.
package optout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
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
	ready atomic.Bool

	mu  sync.RWMutex
	out map[key]struct{}
}

type key struct {
	account string
	number  [16]byte // the beginning of its hash
}

// NewList returns an empty List; Follow fills it.
func NewList(log *slog.Logger) *List { return &List{log: log, out: map[key]struct{}{}} }

// Ready reports whether all that was told before is known.
func (l *List) Ready() bool { return l.ready.Load() }

// Has reports whether a number wants nothing from an account.
func (l *List) Has(account, number string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.out) == 0 {
		return false
	}
	sum := sha256.Sum256([]byte(number))
	_, ok := l.out[key{account, [16]byte(sum[:16])}]
	return ok
}

// Follow keeps the list up to date until ctx is done.
func (l *List) Follow(ctx context.Context, b *bus.Bus) error {
	from := uint64(0)
	for ctx.Err() == nil {
		err := b.Tail(ctx, bus.Tail{Stream: bus.OptOutStream, From: from}, func(m *bus.Msg) {
			from = m.Seq + 1
			l.apply(m)
		}, func() { l.ready.Store(true) })
		if ctx.Err() != nil {
			break
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
	var sum [16]byte
	if n, err := hex.Decode(sum[:], []byte(part[3])); err != nil || n != len(sum) {
		l.log.Warn("not an opt-out", "seq", m.Seq)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := (key{part[2], sum}); e.Out {
		l.out[k] = struct{}{}
	} else {
		delete(l.out, k)
	}
}
