package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/pkg/envelope"
)

// scenario is a set of contenders that take turns: run makes one run of each.
type scenario struct {
	name string
	run  func(ctx context.Context, o *options, t *table, n int) error
}

func scenarios() []scenario {
	return []scenario{
		{"dispatch", dispatching}, {"envelopes", envelopes}, {"ingest", ingesting}, {"reports", reporting}, {"storm", storm}, {"life", life}, {"memory", memory}, {"scale", scaling},
	}
}

// Names of figures.
const (
	rawTaken     = "raw nats.go, consume and ack"
	tumaBulk     = "Tuma dispatcher, batches of 10,000"
	tumaHundred  = "Tuma dispatcher, batches of 100"
	naiveSingle  = "naive worker, 1 a POST, 64 at once"
	naiveHundred = "naive worker, 100 a POST, 4 at once"
	tumaThousand = "Tuma dispatcher, envelopes of 1,000"
	rawStored    = "raw nats.go, asynchronous publish"
	tumaLines    = "Tuma ingest, NDJSON"
	barePosts    = "bare handler, single POSTs"
	tumaPosts    = "Tuma ingest, single POSTs"
	bareReports  = "bare handler, reports"
	tumaAccepted = "Tuma dlr-collector, reports accepted"
	tumaEvents   = "Tuma dlr-collector, reports out as events"
	cpuLines     = "CPU of ingest and dispatcher, 100,000 by NDJSON"
	cpuPosts     = "CPU of ingest and dispatcher, 100,000 by POST"
	rssSmall     = "dispatcher's memory, backlog of 10,000"
	rssMiddle    = "dispatcher's memory, backlog of 100,000"
	rssLarge     = "dispatcher's memory, backlog of 1,000,000"
	timeSmall    = "time for each 1,000, backlog of 100,000"
	timeLarge    = "time for each 1,000, backlog of 1,000,000"
	rssIngest    = "ingest's memory, 1,000,000 envelopes accepted"

	stormAccepted = "Tuma dlr-collector, a storm of 1,000,000 accepted"
	stormEvents   = "Tuma dlr-collector, a storm of 1,000,000 out as events"
	rssStorm      = "dlr-collector's memory, a storm of 1,000,000"
)

func targets() []target {
	return []target{
		{figure: tumaBulk, of: rawTaken, least: 0.6},
		{figure: tumaBulk, of: naiveSingle, least: 3},
		{figure: tumaHundred, of: rawTaken, least: 0.5},
		{figure: tumaHundred, of: naiveHundred, least: 1},
		{figure: tumaThousand, least: 500_000},
		{figure: tumaLines, of: rawStored, least: 0.6},
		{figure: tumaPosts, of: barePosts, least: 0.7},
		{figure: tumaAccepted, of: bareReports, least: 0.8},
		{figure: tumaEvents, of: bareReports, least: 0.5},
		{figure: stormAccepted, least: 10_000},
		{figure: cpuLines, most: 2},
		{figure: rssLarge, of: rssSmall, most: 1.3},
		{figure: rssLarge, most: 200},
		{figure: timeLarge, of: timeSmall, most: 1.2},
	}
}

// in makes a world for one measurement.
func (o *options) in(ctx context.Context, record bool, measure func(w *world) error) error {
	w, err := newWorld(ctx, o, record)
	if err != nil {
		return err
	}
	defer w.close()
	return measure(w)
}

const perSecond = "messages/s"

func dispatching(ctx context.Context, o *options, t *table, _ int) error {
	tuma := func(figure, account string) error {
		return o.in(ctx, false, func(w *world) error {
			n := o.size(300_000)
			_, m, err := w.drain(ctx, account, n, 1)
			if err == nil {
				t.measured(figure, perSecond, n, m)
			}
			return err
		})
	}
	rival := func(figure, role, path string, n int) error {
		return o.in(ctx, false, func(w *world) error {
			n = o.size(n)
			if err := w.queue(ctx, bulk, n, 1); err != nil {
				return err
			}
			p, err := w.child(ctx, role, order{NATS: w.nats, Stream: bus.QueueStream(bulk), Target: w.gateway, Path: path})
			if err != nil {
				return err
			}
			m, err := w.measure([]*process{p}, func() (float64, error) {
				began := time.Now()
				if err := p.begin(); err != nil {
					return 0, err
				}
				err := w.drained(ctx, bulk, role)
				return time.Since(began).Seconds(), err
			})
			if err != nil {
				return p.failed(err)
			}
			t.measured(figure, perSecond, n, m)
			return nil
		})
	}
	for _, step := range []func() error{
		func() error { return rival(rawTaken, "raw-consume", "", 300_000) },
		func() error { return tuma(tumaBulk, bulk) },
		func() error { return rival(naiveSingle, "naive", "/v1/sms/send", 100_000) },
		func() error { return tuma(tumaHundred, single) },
		func() error { return rival(naiveHundred, "naive-batch", "/api/v1/send-sms", 200_000) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func envelopes(ctx context.Context, o *options, t *table, _ int) error {
	return o.in(ctx, false, func(w *world) error {
		n := o.size(3_000_000)
		_, m, err := w.drain(ctx, bulk, n, envelope.MaxPiece)
		if err == nil {
			t.measured(tumaThousand, perSecond, n, m)
		}
		return err
	})
}

// answered checks that a load was answered as it should.
func answered(r result, want, n int) error {
	if r.Status[want] != n {
		return fmt.Errorf("answers %v, want %d times %d", r.Status, n, want)
	}
	return nil
}

// load runs a generator and returns what it measured.
func (w *world) load(ctx context.Context, role string, o order) (r result, err error) {
	o.Seed = w.o.seed
	p, err := w.child(ctx, role, o)
	if err != nil {
		return r, err
	}
	if err := p.begin(); err != nil {
		return r, err
	}
	return p.result()
}

// loaded measures p (nil: the generator itself) under a load that must be
// answered with status (0: it is not HTTP).
func (w *world) loaded(ctx context.Context, t *table, figure, unit string, p *process, role string, o order, status int) error {
	o.Seed = w.o.seed
	g, err := w.child(ctx, role, o)
	if err != nil {
		return err
	}
	if p == nil {
		p = g
	}
	var r result
	m, err := w.measure([]*process{p}, func() (float64, error) {
		if err := g.begin(); err != nil {
			return 0, err
		}
		r, err = g.result()
		return r.Seconds, err
	})
	if err != nil {
		return p.failed(err)
	}
	t.measured(figure, unit, o.N, m)
	if status == 0 {
		return nil
	}
	return answered(r, status, o.N)
}

const submitPath = "/v1/messages"

func ingesting(ctx context.Context, o *options, t *table, _ int) error {
	lines, posts := o.size(300_000), o.size(150_000)
	subject := bus.QueueSubject(bulk, string(envelope.Normal), tenant)
	if err := o.in(ctx, false, func(w *world) error {
		return w.loaded(ctx, t, rawStored, perSecond, nil, "raw-publish", order{NATS: w.nats, Subject: subject, N: lines}, 0)
	}); err != nil {
		return err
	}
	if err := o.in(ctx, false, func(w *world) error { return w.submit(ctx, t, "lines", tumaLines, lines) }); err != nil {
		return err
	}
	if err := o.in(ctx, false, func(w *world) error {
		p, err := w.child(ctx, "bare-handler", order{NATS: w.nats, Subject: subject, Listen: w.ingest})
		if err != nil {
			return err
		}
		return w.loaded(ctx, t, barePosts, perSecond, p, "posts", order{Target: w.ingest, Path: submitPath, N: posts, Connections: 64}, http.StatusAccepted)
	}); err != nil {
		return err
	}
	return o.in(ctx, false, func(w *world) error { return w.submit(ctx, t, "posts", tumaPosts, posts) })
}

// submit measures ingest.
func (w *world) submit(ctx context.Context, t *table, role, figure string, n int) error {
	p, err := w.tuma(ctx, "ingest")
	if err != nil {
		return err
	}
	return w.loaded(ctx, t, figure, perSecond, p, role, order{Target: w.ingest, Path: submitPath, Key: apiKey, N: n, Connections: 64}, http.StatusAccepted)
}
