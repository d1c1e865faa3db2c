package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// queue fills an account's queue with n messages, as ingest stores them: in
// pieces of the given size, each with a trace of its own.
func (w *world) queue(ctx context.Context, account string, n, size int) error {
	r := rand.New(rand.NewPCG(w.o.seed, uint64(n)))
	now := time.Now().UTC()
	var pending []bus.Pending
	for i := 0; i < n; i += size {
		p := envelope.Piece{
			ID: envelopeID(w.o.seed, i), Tenant: tenant, Priority: envelope.Normal, Account: account, From: "ACME", Text: text,
			AcceptedAt: now, ExpiresAt: now.Add(48 * time.Hour),
			Traceparent: fmt.Sprintf("00-%016x%016x-%016x-01", r.Uint64(), r.Uint64(), r.Uint64()),
		}
		for k := range min(size, n-i) {
			p.Messages = append(p.Messages, envelope.Message{Index: k, To: phone(w.o.seed, i+k), Segments: 1})
		}
		data, err := json.Marshal(&p)
		if err != nil {
			return err
		}
		out, err := w.bus.PublishAsync(bus.Out{Subject: bus.QueueSubject(account, string(envelope.Normal), tenant), Data: data, MsgID: p.ID})
		if err != nil {
			return err
		}
		if pending = append(pending, out); len(pending) == 4000 { // half of what the client lets be on its way
			if err := stored(ctx, pending); err != nil {
				return err
			}
			pending = pending[:0]
		}
	}
	return stored(ctx, pending)
}

func stored(ctx context.Context, pending []bus.Pending) error {
	for _, p := range pending {
		if _, err := p.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// lane is the consumer of Tuma's dispatcher that has all of it.
const lane = "normal-" + tenant

// drain fills an account's queue while its dispatcher is paused, lets it go, and
// measures until the last message is settled. The dispatcher polls for
// the end of its pause, up to 0.1 s late, which counts.
func (w *world) drain(ctx context.Context, account string, n, size int) (d *process, m measured, err error) {
	if err := w.paused(ctx, account, true); err != nil {
		return nil, m, err
	}
	if d, err = w.tuma(ctx, "dispatcher"); err != nil {
		return nil, m, err
	}
	if err := w.queue(ctx, account, n, size); err != nil {
		return nil, m, err
	}
	if err := w.o.tools.granting(ctx); err != nil {
		return nil, m, err
	}
	m, err = w.measure([]*process{d}, func() (float64, error) { return w.release(ctx, d, account, n) })
	return d, m, err
}

// release lets a paused account go and returns the seconds until n messages have
// been sent and settled.
func (w *world) release(ctx context.Context, d *process, account string, n int) (float64, error) {
	began := time.Now()
	if err := w.paused(ctx, account, false); err != nil {
		return 0, err
	}
	within, cancel := context.WithTimeout(ctx, 20*time.Second+time.Duration(n)*100*time.Microsecond)
	defer cancel()
	if err := w.drained(within, account, lane); err != nil {
		return 0, d.failed(err)
	}
	seconds := time.Since(began).Seconds()
	sent, err := w.arrived(ctx)
	if err == nil && sent != n {
		err = d.failed(fmt.Errorf("%d messages sent of %d", sent, n))
	}
	return seconds, err
}
