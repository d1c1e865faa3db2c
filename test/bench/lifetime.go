package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/service"
)

// reporting measures the dlr-collector on messages that Tuma's dispatcher has
// sent: callbacks answered while they are being matched, and then the last one
// out as an event.
func reporting(ctx context.Context, o *options, t *table, _ int) error {
	n := o.size(100_000)
	return o.in(ctx, true, func(w *world) error {
		d, _, err := w.drain(ctx, single, n, 1)
		if err != nil {
			return err
		}
		w.stop(d)
		load := order{Target: w.callback, Reports: "http://" + w.gateway, N: n, Connections: 64}
		if err := w.bareReports(ctx, t, load); err != nil {
			return err
		}
		_, err = w.reported(ctx, t, tumaAccepted, tumaEvents, load)
		return err
	})
}

// reported measures the dlr-collector under a load of reports, until the last is
// out as an event.
func (w *world) reported(ctx context.Context, t *table, accepted, events string, load order) (c *process, err error) {
	if c, err = w.tuma(ctx, "dlr-collector"); err != nil {
		return nil, err
	}
	load.Seed = w.o.seed
	p, err := w.child(ctx, "posts", load)
	if err != nil {
		return nil, err
	}
	var r result
	var taken measured // until the last is accepted
	m, err := w.measure([]*process{c}, func() (float64, error) {
		began := time.Now()
		taken, err = w.measure([]*process{c}, func() (float64, error) {
			if err := p.begin(); err != nil {
				return 0, err
			}
			if r, err = p.result(); err != nil {
				return 0, err
			}
			return r.Seconds, nil
		})
		if err != nil {
			return 0, err
		}
		within, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(load.N)*time.Millisecond/2)
		defer cancel()
		err := c.delivered(within, load.N)
		return time.Since(began).Seconds(), err
	})
	if err != nil {
		return nil, c.failed(err)
	}
	t.measured(accepted, "reports/s", load.N, taken)
	t.measured(events, "reports/s", load.N, m)
	return c, answered(r, http.StatusOK, load.N)
}

// storm measures what a million reports at once over many connections cost beside
// time. They come up to 200,000 messages out of order: a quarter of a minute at
// the rate that CloudRebue allows.
func storm(ctx context.Context, o *options, t *table, run int) error {
	if run >= 1 {
		return nil // it is long, and memory hardly varies
	}
	n := o.size(1_000_000)
	return o.in(ctx, true, func(w *world) error {
		d, _, err := w.drain(ctx, single, n, 1)
		if err != nil {
			return err
		}
		w.stop(d)
		c, err := w.reported(ctx, t, stormAccepted, stormEvents, order{Target: w.callback, Reports: "http://" + w.gateway, Spread: 200_000, N: n, Connections: 1024})
		if err != nil {
			return err
		}
		mib, err := c.peak()
		t.add(rssStorm, "MiB", mib)
		return err
	})
}

// bareReports measures the same callbacks at a handler that only stores them.
func (w *world) bareReports(ctx context.Context, t *table, load order) error {
	subject := bus.CallbackSubject("nobody", "dlr")
	p, err := w.child(ctx, "bare-handler", order{NATS: w.nats, Subject: subject, Listen: w.callback})
	if err != nil {
		return err
	}
	defer w.stop(p)
	return w.loaded(ctx, t, bareReports, "reports/s", p, "posts", load, http.StatusAccepted)
}

// delivered waits until a program's metrics count n delivered messages.
func (p *process) delivered(ctx context.Context, n int) error {
	for service.Sleep(ctx, 50*time.Millisecond) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/metrics", nil)
		if err != nil {
			return err
		}
		resp, err := caller().Do(req)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // read to its end
		if err != nil {
			return err
		}
		for line := range bytes.SplitSeq(data, []byte("\n")) {
			text := string(line)
			if !strings.HasPrefix(text, "tuma_messages_total{") || !strings.Contains(text, `status="delivered"`) {
				continue
			}
			if v, err := strconv.ParseFloat(text[strings.LastIndexByte(text, ' ')+1:], 64); err == nil && int(v) >= n {
				return nil
			}
		}
	}
	return fmt.Errorf("not all of %d reports came out: %w", n, ctx.Err())
}

// life measures the CPU of single messages from the submission to the last ack,
// with ingest and dispatcher at work together.
func life(ctx context.Context, o *options, t *table, _ int) error {
	n := o.size(200_000)
	for _, way := range [][2]string{{"lines", cpuLines}, {"posts", cpuPosts}} {
		role, figure := way[0], way[1]
		if err := o.in(ctx, false, func(w *world) error {
			in, err := w.tuma(ctx, "ingest")
			if err != nil {
				return err
			}
			d, err := w.tuma(ctx, "dispatcher")
			if err != nil {
				return err
			}
			if err := o.tools.granting(ctx); err != nil {
				return err
			}
			m, err := w.measure([]*process{in, d}, func() (float64, error) {
				r, err := w.load(ctx, role, order{Target: w.ingest, Path: submitPath, Key: apiKey, N: n, Connections: 64})
				if err == nil {
					err = answered(r, http.StatusAccepted, n)
				}
				if err == nil {
					err = w.drained(ctx, bulk, lane)
				}
				return 0, err
			})
			if err != nil {
				return in.failed(err)
			}
			t.add(figure, "s", m.own/float64(n)*100_000)
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// memory measures what a backlog costs beside time. The envelopes come in over
// HTTP, so that ingest knows all of them too.
func memory(ctx context.Context, o *options, t *table, run int) error {
	if run >= 3 {
		return nil // it is long, and memory hardly varies
	}
	for _, size := range []int{10_000, 100_000, 1_000_000} {
		n := o.size(size)
		if err := o.in(ctx, false, func(w *world) error {
			if err := w.paused(ctx, bulk, true); err != nil {
				return err
			}
			in, err := w.tuma(ctx, "ingest")
			if err != nil {
				return err
			}
			r, err := w.load(ctx, "lines", order{Target: w.ingest, Path: submitPath, Key: apiKey, N: n})
			if err != nil {
				return in.failed(err)
			}
			if err := answered(r, http.StatusAccepted, n); err != nil {
				return err
			}
			if size == 1_000_000 {
				mib, err := in.peak()
				if err != nil {
					return err
				}
				t.add(rssIngest, "MiB", mib)
			}
			w.stop(in)
			return w.heldBy(ctx, t, size, n)
		}); err != nil {
			return err
		}
	}
	return nil
}

// heldBy measures the dispatcher on a backlog that lies there.
func (w *world) heldBy(ctx context.Context, t *table, size, n int) error {
	d, err := w.tuma(ctx, "dispatcher")
	if err != nil {
		return err
	}
	if err := w.o.tools.granting(ctx); err != nil {
		return err
	}
	seconds, err := w.release(ctx, d, bulk, n)
	if err != nil {
		return err
	}
	mib, err := d.peak()
	if err != nil {
		return err
	}
	each := seconds / float64(n) * 1000 * 1000
	switch size {
	case 10_000:
		t.add(rssSmall, "MiB", mib)
	case 100_000:
		t.add(rssMiddle, "MiB", mib)
		t.add(timeSmall, "ms", each)
	default:
		t.add(rssLarge, "MiB", mib)
		t.add(timeLarge, "ms", each)
	}
	return nil
}
