package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// rangeBytes bounds what one batch of direct reads may send at us; a client has
	// room for 64 MiB.
	rangeBytes = 32 << 20
	rangeMost  = 1000 // messages in one request
)

// Range reads up to n messages from sequence from on, in order, in one request
// (the server's batched direct get), and hands them to fn. Messages that are
// gone are left out.
func (b *Bus) Range(ctx context.Context, stream string, from uint64, n int, fn func(*Msg)) error {
	for n > 0 {
		got, next, err := b.rangeOnce(ctx, stream, "", from, min(n, rangeMost), fn)
		if err != nil || got == 0 {
			return err
		}
		from, n = next, n-got
	}
	return nil
}

// Contents reads as Range does, for those who need nothing but sequence and Data
// of what was not packed: what else there is of a message would be half of its
// price, as the server writes it into headers and we read it from them.
func (b *Bus) Contents(ctx context.Context, stream string, from uint64, n int, fn func(*Msg)) error {
	for n > 0 {
		got, err := b.contentsOnce(ctx, stream, from, min(n, rangeMost), fn)
		if err != nil {
			return err
		}
		if got == 0 {
			return b.Range(ctx, stream, from, n, fn)
		}
		from, n = from+uint64(got), n-got
	}
	return nil
}

// contentsOnce reads what lies there without a gap; if anything of it is gone,
// nothing: then only headers tell which is which.
func (b *Bus) contentsOnce(ctx context.Context, stream string, from uint64, n int, fn func(*Msg)) (got int, err error) {
	epoch, err := b.incarnation(ctx, stream)
	if err != nil {
		return 0, err
	}
	all := make([][]byte, 0, n)
	end, err := b.direct(ctx, stream, directRead{From: from, Batch: n, Bare: true}, func(m *nats.Msg) error {
		if len(m.Header) == 0 { // a server that knows no bare answers writes headers
			all = append(all, m.Data)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	last, err := strconv.ParseUint(end.Header.Get("Nats-Last-Sequence"), 10, 64)
	if err != nil || last+1-from != uint64(len(all)) {
		return 0, nil
	}
	for i, data := range all {
		fn(&Msg{Data: data, Stream: stream, Seq: from + uint64(i), Epoch: epoch})
	}
	return len(all), nil
}

func (b *Bus) rangeOnce(ctx context.Context, stream, filter string, from uint64, n int, fn func(*Msg)) (got int, next uint64, err error) {
	epoch, err := b.incarnation(ctx, stream)
	if err != nil {
		return 0, 0, err
	}
	_, err = b.direct(ctx, stream, directRead{From: from, Batch: n, Filter: filter}, func(m *nats.Msg) error {
		seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			return fmt.Errorf("bus: range %s: %w", stream, err)
		}
		at, _ := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp")) // zero when unreadable; only shown
		subject, h := m.Header.Get("Nats-Subject"), Header(m.Header)
		fn(&Msg{Subject: subject, Header: h, Data: unpacked(subject, h, m.Data), Stream: stream, Seq: seq, Epoch: epoch, Time: at})
		got, next = got+1, seq+1
		return nil
	})
	return got, next, err
}

// directRead is a batched direct get.
type directRead struct {
	From     uint64 `json:"seq"`
	Batch    int    `json:"batch"`
	MaxBytes int    `json:"max_bytes"`
	Filter   string `json:"next_by_subj,omitempty"`
	Bare     bool   `json:"no_hdr,omitempty"` // messages without any header, their own included
}

// direct hands what is read to fn, and returns what ends it: the server's word
// that the batch is over (204), that there is nothing (404), or what was wrong.
func (b *Bus) direct(ctx context.Context, stream string, r directRead, fn func(*nats.Msg) error) (end *nats.Msg, err error) {
	r.MaxBytes = rangeBytes
	req, err := json.Marshal(&r)
	if err != nil {
		return nil, fmt.Errorf("bus: range: %w", err)
	}
	// A client drops what it has no room for, and these come as fast as they can:
	// room for all, and for the end. (SubscribeSync would make some for 65,536.)
	answers := make(chan *nats.Msg, r.Batch+1)
	sub, err := b.nc.ChanSubscribe(b.nc.NewInbox(), answers)
	if err != nil {
		return nil, typed("range", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := b.nc.PublishRequest("$JS.API.DIRECT.GET."+stream, sub.Subject, req); err != nil {
		return nil, typed("range", err)
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	for {
		select {
		case m := <-answers:
			// A message may have a header of that name, and has a sequence.
			if m.Header.Get("Status") != "" && m.Header.Get("Nats-Sequence") == "" {
				return m, nil
			}
			if err := fn(m); err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, typed("range "+stream, ctx.Err())
		}
	}
}
